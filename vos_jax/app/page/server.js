// The server of this page: requests, commands, and the messages that it sends.

/** The server answered, and refused; `message` is for the user. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer. */
export class Away extends Error {
  constructor() {
    super("the server does not answer");
  }
}

// Whether whoever listens at this port is the server of this page. While that was away
// another program may have come, which is not to learn the token of the address.
let known = true;

const hex = (bytes) => Array.from(bytes, (x) => x.toString(16).padStart(2, "0")).join("");

/** Asks for what only a server that knows the token can answer. */
async function prove() {
  const text = new TextEncoder();
  const token = text.encode(location.pathname.split("/")[1]);
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
  const kind = { name: "HMAC", hash: "SHA-256" };
  try {
    const key = await crypto.subtle.importKey("raw", token, kind, false, ["sign"]);
    const expected = hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, text.encode(nonce))));
    const answer = await fetch(`/proof/${nonce}`, { cache: "no-store" });
    known = answer.ok && (await answer.text()) === expected;
  } catch {
    known = false;
  }
  return known;
}

async function ask(path, options) {
  if (!known && !(await prove())) throw new Away();
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    known = false;
    throw new Away();
  }
  if (answer.ok) return answer;
  let message = `the server answered ${answer.status} to ${path}`;
  try {
    message = (await answer.json()).error ?? message;
  } catch {
    // The answer is not from the program itself: its status is all there is to say.
  }
  throw new Refused(answer.status, message);
}

/** A body may break off when the server goes: that is being away, too. */
async function read(body) {
  try {
    return await body;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away();
  }
}

export async function project() {
  return read((await ask("project")).json());
}

/** The frame as a Blob; `width` 0 is that of the video. */
export async function frame(index, width, signal) {
  const path = width ? `frames/${index}?width=${width}` : `frames/${index}`;
  return read((await ask(path, { signal })).blob());
}

/** The mask of a frame, {runs, version}. */
export async function labels(index, signal) {
  const answer = await ask(`labels/${index}`, { signal, cache: "no-store" });
  const version = answer.headers.get("Version");
  return { runs: new Uint8Array(await read(answer.arrayBuffer())), version };
}

/** Replaces the mask of a frame; the new version. Refused with 409 on a conflict. */
export async function putLabels(index, what, runs, version, leaving = false) {
  const answer = await ask(`labels/${index}?what=${what}`, {
    method: "PUT",
    headers: { Version: version, "Content-Type": "application/octet-stream" },
    body: runs,
    // Browsers let 64 KiB outlive their page.
    keepalive: leaving && runs.length < 60000,
  });
  return (await read(answer.json())).version;
}

export async function command(name, body = {}) {
  const answer = await ask(`commands/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return read(answer.json());
}

/**
 * Keeps a socket open. `heard` gets each message; `away` is called once when the server
 * goes, and is followed by a message "project" when it is back.
 */
export function listen(heard, away, retry = 2000) {
  let present = true;
  const connect = async () => {
    if (!known && !(await prove())) {
      setTimeout(connect, retry);
      return;
    }
    const address = new URL("events", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onmessage = (event) => {
      present = true;
      heard(JSON.parse(event.data));
    };
    socket.onclose = () => {
      known = false;
      if (present) away();
      present = false;
      setTimeout(connect, retry);
    };
  };
  connect();
}

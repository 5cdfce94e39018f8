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

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
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
  const connect = () => {
    const address = new URL("events", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onmessage = (event) => {
      present = true;
      heard(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (present) away();
      present = false;
      setTimeout(connect, retry);
    };
  };
  connect();
}

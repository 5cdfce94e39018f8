// The page of `vos-jax annotate`: makes the parts and connects them.

import { App } from "./app.js";
import { Edits, ownPlace } from "./edits.js";
import * as server from "./server.js";

async function open() {
  for (;;) {
    try {
      return await server.project();
    } catch (error) {
      document.getElementById("saved").textContent =
        error instanceof server.Away ? "Waiting for the server…" : error.message;
      document.body.dataset.state = "away";
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

const project = await open();
const prefix = `vos-jax-edits:${location.pathname}`;
new App(project, new Edits(prefix, await ownPlace(prefix))).start();

// All that a user can do, with its keys. Buttons, keyboard and the list of keys are made
// from this table.

export function actions(app) {
  const { player, tools, view } = app;
  const step = (by) => () => app.go(player.target + by);
  const drawn = (direction) => () => {
    const frames = app.project.drawn.filter(
      (one) => direction * (one - player.target) > 0,
    );
    if (frames.length)
      app.go(direction > 0 ? Math.min(...frames) : Math.max(...frames));
    else app.tell(`No drawn frame ${direction > 0 ? "after" : "before"} this one.`);
  };
  const pan = (x, y) => () => view.pan(60 * x, 60 * y);
  const table = [
    [
      "Video",
      [
        ["play", "Play or pause", ["Space", "K"], () => app.togglePlay()],
        ["previous", "Previous frame", ["←", ","], step(-1), true],
        ["next", "Next frame", ["→", "."], step(1), true],
        ["back10", "Ten frames back", ["Shift+←"], step(-10), true],
        ["on10", "Ten frames on", ["Shift+→"], step(10), true],
        ["previousDrawn", "Previous drawn frame", ["PageUp"], drawn(-1)],
        ["nextDrawn", "Next drawn frame", ["PageDown"], drawn(1)],
        ["first", "First frame", ["Home"], () => app.go(0)],
        ["last", "Last frame", ["End"], () => app.go(app.project.frames - 1)],
        ["jump", "Go to a frame by number", ["J"], () => app.focusFrame()],
      ],
    ],
    [
      "Track",
      [
        ["trackForward", "Track forward from here", ["T"], () => app.track("forward")],
        [
          "trackBackward",
          "Track backward from here",
          ["Shift+T"],
          () => app.track("backward"),
        ],
        ["stop", "Stop tracking", ["S"], () => app.stop()],
        ["follow", "Follow the tracker", ["W"], () => app.toggleFollow()],
      ],
    ],
    [
      "Tools",
      [
        ["brush", "Brush", ["B"], () => tools.choose("brush")],
        ["eraser", "Eraser", ["E"], () => tools.choose("eraser")],
        ["polygon", "Polygon", ["P"], () => tools.choose("polygon")],
        ["fill", "Fill an enclosed region", ["G"], () => tools.choose("fill")],
        [
          "smaller",
          "Smaller tip",
          ["["],
          () => tools.setSize(Math.min(tools.size - 1, tools.size / 1.15)),
          true,
        ],
        [
          "larger",
          "Larger tip",
          ["]"],
          () => tools.setSize(Math.max(tools.size + 1, tools.size * 1.15)),
          true,
        ],
        ["lock", "Only paint on background", ["L"], () => tools.setLock(!tools.lock)],
        [
          "close",
          "Close the polygon",
          ["Enter"],
          () => tools.close() || app.notices.act(),
        ],
        ["point", "Last point of the polygon back", ["Backspace"], () => tools.back()],
        [
          "cancel",
          "Drop what is being drawn; close a notice",
          ["Escape"],
          () => app.escape(),
        ],
      ],
    ],
    [
      "Edit",
      [
        ["undo", "Undo", ["Ctrl+Z"], () => app.undo("undo"), true],
        ["redo", "Redo", ["Ctrl+Shift+Z", "Ctrl+Y"], () => app.undo("redo"), true],
        ["copy", "Copy the object's mask", ["Ctrl+C"], () => app.drawing.copy()],
        ["paste", "Paste the mask here", ["Ctrl+V"], () => app.drawing.paste()],
        [
          "clear",
          "Clear the object in this frame",
          ["Delete"],
          () => app.drawing.clear(),
        ],
        [
          "forget",
          "Take back what was drawn in this frame",
          ["Ctrl+Delete"],
          () => app.forget(),
        ],
        ["export", "Export", ["Ctrl+E"], () => app.openExport()],
        [
          "save",
          "Save (all is saved as it happens)",
          ["Ctrl+S"],
          () => app.tellSaved(),
        ],
      ],
    ],
    [
      "Objects",
      [
        ["up", "Object above", ["↑"], () => app.selectNext(-1), true],
        ["down", "Object below", ["↓"], () => app.selectNext(1), true],
        ["add", "New object", ["N"], () => app.addObject()],
        ["rename", "Rename the object", ["R", "F2"], () => app.rename()],
        [
          "colour",
          "Colour of the object",
          ["C"],
          () => app.objects.openColour(app.selected),
        ],
        ["hide", "Show or hide the object", ["V"], () => app.hide(app.selected)],
        ["end", "Gone from this frame on", ["X"], () => app.end(app.selected)],
        [
          "delete",
          "Delete the object",
          ["Shift+Delete"],
          () => app.deleteObject(app.selected),
        ],
      ],
    ],
    [
      "View",
      [
        ["fit", "Fit the frame", ["0", "F"], () => view.fit()],
        [
          "whole",
          "One pixel for one",
          ["Z"],
          () => view.zoom(1 / view.scale / view.ratio),
        ],
        ["in", "Zoom in", ["+", "="], () => view.zoom(1.25), true],
        ["out", "Zoom out", ["-"], () => view.zoom(0.8), true],
        ["left", "", ["Alt+←"], pan(1, 0), true],
        ["right", "", ["Alt+→"], pan(-1, 0), true],
        ["top", "", ["Alt+↑"], pan(0, 1), true],
        ["bottom", "", ["Alt+↓"], pan(0, -1), true],
        ["masks", "Show or hide all masks", ["M"], () => app.toggle("masks")],
        ["names", "Show names on the masks", ["I"], () => app.toggle("names")],
        [
          "fainter",
          "Fainter masks",
          [";"],
          () => app.setOpacity(app.settings.opacity - 0.1),
          true,
        ],
        [
          "stronger",
          "Stronger masks",
          ["'"],
          () => app.setOpacity(app.settings.opacity + 0.1),
          true,
        ],
        ["help", "These keys", ["?"], () => app.help()],
      ],
    ],
  ];
  const made = table.flatMap(([group, entries]) =>
    entries.map(([name, text, keys, run, repeat = false]) => ({
      group,
      name,
      text,
      keys,
      run,
      repeat,
    })),
  );
  for (let digit = 1; digit <= 9; digit++) {
    made.push({
      group: "Objects",
      name: `object${digit}`,
      text: "",
      keys: [String(digit)],
      run: () => app.selectPlace(digit - 1),
      repeat: false,
    });
  }
  return made;
}

/** What the pointer does, and keys that are told together, for the list of keys. */
export const POINTER = [
  { group: "Objects", text: "Select an object", keys: ["1", "…", "9"] },
  { group: "Objects", text: "Select what is under the pointer", keys: ["Alt+click"] },
  {
    group: "Tools",
    text: "Eraser: any object; fill: take away",
    keys: ["Shift+click"],
  },
  { group: "Tools", text: "Erase with any tool", keys: ["right button"] },
  { group: "View", text: "Zoom around the pointer", keys: ["wheel"] },
  { group: "View", text: "Move the picture", keys: ["Space+drag", "Alt+arrows"] },
  { group: "View", text: "The same, by the mouse", keys: ["middle button"] },
];

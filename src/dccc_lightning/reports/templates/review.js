"use strict";
(() => {
  const data = JSON.parse(document.getElementById("review-data").textContent);
  const log = [];  // {at, kind, rows: [[image, decision, image]], name: {identity, image, text}}
  const marked = new Set();
  let at = 0, saved = 0;
  const by = (id) => document.getElementById(id);
  const element = (kind, text = "", properties = {}) =>
    Object.assign(document.createElement(kind), { textContent: text }, properties);
  const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

  function unions() {
    const up = new Map();
    const root = (node) => { while (up.has(node)) node = up.get(node); return node; };
    const join = (a, b) => { [a, b] = [root(a), root(b)]; if (a !== b) up.set(a, b); };
    return { root, join };
  }

  function contradicts(rows) {
    const { root, join } = unions(), node = (image) => data.images[image].node;
    const all = [...log.flatMap((entry) => entry.rows), ...rows];
    for (const [a, what, b] of all) if (what === "same") join(node(a), node(b));
    const apart = all.filter((row) => row[1] === "different").map(([a, , b]) => [node(a), node(b)]);
    return [...data.apart, ...apart].some(([a, b]) => root(a) === root(b));
  }

  function names() {  // by identity, the latest last; of identities that are the same, the latest
    const { root, join } = unions(), found = new Map();
    const put = (identity, entry) => { found.delete(identity); found.set(identity, entry); };
    for (const { row, identity } of data.earlier) if (row[1] === "name") put(identity, row);
    for (const { at: place, kind, name } of log) {
      if (name) put(name.identity, [data.images[name.image].path, "name", name.text]);
      const question = data.questions[place];
      if (kind === "same" && question.kind === "merge")
        join(identityOf(question.first[0]), identityOf(question.second[0]));
    }
    const kept = new Map();
    for (const [identity, row] of found) kept.set(root(identity), row);
    return [...kept.values()];
  }

  const identityOf = (image) => data.images[image].identity;

  function nameOf(identity) {
    const given = log.filter((entry) => entry.name && entry.name.identity === identity).at(-1);
    return given ? given.name.text : data.names[identity] || "";
  }

  function csv() {
    const cell = (text) => `"${String(text).replaceAll('"', '""')}"`;
    const answers = log.flatMap((entry) => entry.rows)
      .map(([a, what, b]) => [data.images[a].path, what, data.images[b].path]);
    const earlier = data.earlier.map((entry) => entry.row).filter((row) => row[1] !== "name");
    const rows = [...earlier, ...answers, ...names()];
    return ["first,decision,second", ...rows.map((row) => row.map(cell).join(","))].join("\n") + "\n";
  }

  function answer(kind) {
    const question = data.questions[at];
    if (!question) return;
    const rows = [];
    if (kind !== "skip") {
      const lead = (group) => (kind === "same" ? question.first : group)[0];
      for (const group of [question.first, question.second])
        for (const image of group)
          if (image !== lead(group))
            rows.push([lead(group), marked.has(image) ? "different" : "same", image]);
      if (kind === "different") rows.push([question.first[0], "different", question.second[0]]);
    }
    if (contradicts(rows)) {
      show("That contradicts an earlier decision or a tracklet: undo that one, or skip this.");
      return;
    }
    log.push({ at, kind, rows });
    at += 1;
    marked.clear();
    show();
  }

  function name(identity, image, text) {
    text = text.trim();
    if (!text || text === nameOf(identity)) return;
    log.push({ kind: "name", rows: [], name: { identity, image, text } });
    show();
  }

  function undo() {
    const last = log.pop();
    if (!last) return;
    if (last.at !== undefined) at = last.at;
    saved = Math.min(saved, log.length);
    marked.clear();
    show();
  }

  function save() {
    const link = element("a", "", { download: "decisions.csv" });
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    saved = log.length;
    show();
  }

  function picture(image) {
    const { picture: source, path } = data.images[image], file = path.split(/[\\/]/).at(-1);
    return source ? element("img", "", { src: source, alt: file }) :
      element("span", "not readable here", { className: "missing" });
  }

  function caption(image) {
    const { camera, path, link } = data.images[image], line = element("figcaption");
    const file = path.split(/[\\/]/).at(-1);
    line.append(element("a", file, { href: link, target: "_blank", title: path }));
    if (camera !== null) line.append(`camera ${camera}`);
    return line;
  }

  function field(identity, image) {
    const input = element("input", "", { value: nameOf(identity), placeholder: "name" });
    input.setAttribute("aria-label", `name of ${identity}`);
    input.addEventListener("change", () => name(identity, image, input.value));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") input.value = nameOf(identity);
      if (event.key === "Enter" || event.key === "Escape") input.blur();
      event.stopPropagation();
    });
    return input;
  }

  function group(side, question, start) {
    const images = question[side], identity = identityOf(images[0]), tiles = element("div");
    tiles.className = "group";
    images.forEach((image, n) => {
      const tile = element("figure", "", { className: n ? "" : "lead" });
      const button = element("button", "", { type: "button" });
      button.append(picture(image));
      if (n) {
        button.append(element("kbd", String((start + n) % 10)));
        button.title = "shows someone else";
        button.dataset.digit = (start + n) % 10;
        button.setAttribute("aria-pressed", String(marked.has(image)));
        button.addEventListener("click", () => {
          if (!marked.delete(image)) marked.add(image);
          button.setAttribute("aria-pressed", String(marked.has(image)));
        });
      } else button.disabled = true;
      tile.append(button, caption(image));
      tiles.append(tile);
    });
    const isPart = question.kind === "split" && side === "first";
    const head = element("h3", isPart ? `doubtful in ${identity}` : identity);
    if (!isPart) head.append(field(identity, images[0]));
    by(side).replaceChildren(head, tiles);
  }

  function show(clash = "") {
    const question = data.questions[at], answered = log.filter((entry) => entry.rows.length).length;
    by("state").textContent = clash || `question ${Math.min(at + 1, data.questions.length)} of ` +
      `${data.questions.length}; ${answered} answered, ${count(names().length, "name")}, ` +
      `${log.length > saved ? "not saved yet" : log.length ? "saved" : "nothing to save"}`;
    by("state").className = clash ? "clash" : "dim";
    by("end").hidden = Boolean(question);
    document.querySelector(".sides").hidden = !question;
    if (question) {
      by("ask").textContent = question.kind === "merge" ?
        "Are these two one individual?" : "Is the doubtful one the same individual as the others?";
      group("first", question, 0);
      group("second", question, question.first.length - 1);
    } else by("ask").textContent = data.questions.length ? "No more questions" : "No questions";
    for (const button of document.querySelectorAll("[data-do]")) {
      const { do: what } = button.dataset;
      button.disabled = what === "undo" ? !log.length :
        what !== "save" && !question || what === "save" && !log.length && !data.earlier.length;
    }
    for (const input of by("identities").querySelectorAll("input"))
      input.value = nameOf(input.dataset.identity);
  }

  for (const { identity, image, images, note } of data.identities) {
    const card = element("div", "", { className: "card" }), head = element("h3", identity);
    const input = field(identity, image), tiles = element("div", "", { className: "group" });
    input.dataset.identity = identity;
    head.append(input);
    for (const own of images) {
      const tile = element("figure");
      tile.append(picture(own), caption(own));
      tiles.append(tile);
    }
    card.append(head, element("p", note, { className: "dim" }), tiles);
    by("identities").append(card);
  }

  const actions = {
    same: () => answer("same"), different: () => answer("different"), skip: () => answer("skip"),
    undo, save, name: () => by("second").querySelector("input").focus(),
  };
  const keys = { s: "same", d: "different", k: "skip", ArrowRight: "skip", u: "undo",
    ArrowLeft: "undo", n: "name", Enter: "save" };
  for (const button of document.querySelectorAll("[data-do]"))
    button.addEventListener("click", () => actions[button.dataset.do]());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const what = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const tile = document.querySelector(`[data-digit="${CSS.escape(event.key)}"]`);
    if (event.key === "Enter" && event.target.closest?.("button, a")) return;  // presses that one
    if (!what && !tile) return;
    event.preventDefault();
    if (tile) tile.click();
    else if (!document.querySelector(`[data-do="${what}"]`).disabled) actions[what]();
  });
  addEventListener("beforeunload", (event) => { if (log.length > saved) event.preventDefault(); });
  show();
})();

"use strict";
(() => {
  const data = window.mapData, by = (id) => document.getElementById(id);
  const MOST = 60;
  const element = (kind, text = "", properties = {}) =>
    Object.assign(document.createElement(kind), { textContent: text }, properties);
  const content = window.mapContent(data), { count, labels, frames, grouped, real, named, picture } = content;
  const { colouring, variable } = window.mapColours(data, content, element);
  const images = (n) => `${n.toLocaleString("en")} image${n === 1 ? "" : "s"}`;
  let at = frames.length - 1, colour = "cluster", selection = [], chosen = -1, playing = 0;
  const frame = () => frames[at];
  const file = (n) => data.paths[n].split("/").at(-1);
  const link = (n) => data.root + data.paths[n].split("/").map(encodeURIComponent).join("/");
  const groupOf = (n) => frame().cluster[n];
  const group = (number) => number < 0 ? "outlier" : data.groups ? data.groups[number] : String(number);

  function tile(n, tall) {
    const button = picture(element("button", "", { type: "button", className: "tile" }), n, tall);
    button.setAttribute("aria-label", file(n));
    button.title = [file(n), facts(n).slice(1).map((pair) => pair.join(" ")).join("\n")].join("\n");
    if (n === chosen) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => choose(n));
    return button;
  }
  function tiles(parent, list, tall = 64) {
    parent.replaceChildren(...list.slice(0, MOST).map((n) => tile(n, tall)));
    if (list.length > MOST) parent.append(element("span", `and ${images(list.length - MOST)} more`, { className: "dim" }));
  }

  function facts(n) {
    const found = [["file", file(n)], ...grouped ? [[data.group, group(groupOf(n))]] : []];
    for (const name of ["camera", "identity"])
      if (named(name, n) !== null) found.push([name === data.group ? "label" : name, named(name, n)]);
    for (const name of ["distance", "margin"]) {
      const value = real(frame()[name][n]);
      if (value !== null) found.push([name, value.toFixed(3)]);
    }
    if (at) found.push(["change", data.changes[frame().change[n]]]);
    return found;
  }

  // the map

  const canvas = by("map"), tip = by("tip");
  const view = window.mapView(canvas, {
    select: (found) => { select(found, false); if (found.length === 1) choose(found[0]); },
    over: hover,
  });
  if (!view) { canvas.hidden = true; by("no-webgl").hidden = false; }
  function hover(n, place) {
    tip.hidden = n < 0;
    if (n < 0) return;
    const text = facts(n).map(([name, value]) => name === "file" ? value : `${name} ${value}`);
    tip.replaceChildren(picture(element("div"), n, 112), element("span", text.slice(0, 4).join("\n")));
    const right = place[0] + 20 + tip.offsetWidth < canvas.clientWidth;
    const left = right ? place[0] + 14 : place[0] - 14 - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(left, canvas.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, Math.min(place[1] - 60, canvas.clientHeight - tip.offsetHeight))}px`;
  }
  function draw(moves = false) {
    const [palette, values, legend] = colouring(colour, frame()), { x, y } = frame();
    by("legend").replaceChildren(...legend);
    const grey = palette.indexOf(variable("none"));  // beneath the others
    const order = Array.from(values.keys()).sort((a, b) => (values[a] !== grey) - (values[b] !== grey));
    const onto = (list, sign) => Float32Array.from(list, (value) => sign * (value / 65534 * 1.9 - 0.95));
    return view && view.draw(onto(x, 1), onto(y, 1), Float32Array.from(values), palette, order, moves);
  }

  // image, selection, epoch

  function select(list, told = true) {
    selection = list;
    if (told && view) view.select(list);
    show();
  }
  function choose(n) {
    chosen = n;
    show();
  }
  function members(number) {
    const found = [];
    frame().cluster.forEach((value, n) => { if (value === number) found.push(n); });
    return number < 0 ? found : found.sort((a, b) => frame().distance[a] - frame().distance[b]);
  }
  function show() {
    by("count").textContent = selection.length ? `${images(selection.length)} selected` : "Nothing selected";
    for (const what of ["save", "clear"]) document.querySelector(`[data-do="${what}"]`).disabled = !selection.length;
    tiles(by("selected"), selection.length > 1 ? selection : [], 48);
    const side = by("image");
    if (chosen < 0) {
      const whole = grouped ? ` and its ${data.group}` : "", others = grouped ? `, ${data.group === "identity" ? "an" : "a"} ${data.group}` : "";
      side.replaceChildren(element("p", `Click or tap an image to see it, its neighbours${whole}. ` +
        `Drag with the lasso, or find a file${others} or a camera, to select images.`, { className: "dim" }));
      return;
    }
    const top = element("div", "", { className: "facts" }), list = element("dl");
    for (const [name, value] of facts(chosen)) {
      const cell = element("dd");
      if (name === "file") cell.append(element("a", value, { href: link(chosen), target: "_blank", title: data.paths[chosen] }));
      else cell.textContent = value;
      list.append(element("dt", name), cell);
    }
    top.append(picture(element("div", "", { role: "img", ariaLabel: file(chosen) }), chosen, 168), list);
    const near = element("div", "", { className: "tray" }), board = element("div", "", { className: "tray" });
    const width = frame().near.length / count, places = frame().near.slice(chosen * width, (chosen + 1) * width);
    tiles(near, [...places].filter((n) => n >= 0), 80);
    const number = groupOf(chosen), own = members(number), parts = [top];
    if (width) parts.push(element("h3", "Nearest neighbours"), near);
    if (grouped) {
      const head = number < 0 ? "Outliers" : `${data.group[0].toUpperCase()}${data.group.slice(1)} ${group(number)}`;
      parts.push(element("h3", `${head}: ${images(own.length)}${number < 0 ? "" : ", from its centre outwards"}`));
      const button = element("button", "Select them", { type: "button" });
      button.addEventListener("click", () => select(own));
      const line = element("div", "", { className: "choice" });
      line.append(button);
      tiles(board, own);
      parts.push(line, board);
    }
    side.replaceChildren(...parts);
  }
  function go(to) {
    at = Math.max(0, Math.min(frames.length - 1, to));
    by("epoch").value = at;
    by("epoch-name").textContent = frame().name;
    const change = document.querySelector('[data-by="change"]');
    if (change) change.disabled = !at;
    if (!at && colour === "change") return paint("cluster", true);
    tip.hidden = true;
    show();
    return draw(true);
  }
  function paint(name, moves = false) {
    colour = name;
    for (const other of document.querySelectorAll("[data-by]"))
      other.setAttribute("aria-pressed", String(other.dataset.by === name));
    if (moves) show();
    return draw(moves);
  }
  function mode(name) {
    if (view) view.mode(name);
    for (const other of document.querySelectorAll("[data-mode]"))
      other.setAttribute("aria-pressed", String(other.dataset.mode === name));
  }
  function play(on = !playing) {
    clearInterval(playing);
    playing = on ? setInterval(() => at + 1 < frames.length ? go(at + 1) : play(false), 1100) : 0;
    document.querySelector('[data-do="play"]').setAttribute("aria-pressed", String(on));
    if (on) go(at + 1 < frames.length ? at + 1 : 0);
  }

  function save() {
    const quoted = (value) => value === null ? "" : /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
    const columns = {
      path: (n) => data.folder + data.paths[n], camera: (n) => named("camera", n),
      [data.group === "identity" ? "label" : "identity"]: (n) => named("identity", n),
    };
    if (grouped) Object.assign(columns, {
      [data.group]: (n) => data.groups && groupOf(n) >= 0 ? group(groupOf(n)) : groupOf(n),
      distance: (n) => real(frame().distance[n]), margin: (n) => real(frame().margin[n]),
    });
    if (frame().name) columns.epoch = () => frame().name.replace("epoch ", "");
    const lines = selection.map((n) => Object.values(columns).map((cell) => cell(n)));
    const text = [Object.keys(columns), ...lines].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
    const anchor = element("a", "", { download: "selection.csv" });
    anchor.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 60000);
  }
  function find(text) {
    const [, name, value] = text.trim().match(/^(cluster|camera|identity|outliers?$)\s*(.*)$/i) || [];
    const kind = name && name.toLowerCase();
    const wanted = (text.trim().toLowerCase()), is = (found) => found !== null && found.toLowerCase() === value.toLowerCase();
    const match = kind && kind.startsWith("outlier") ? (n) => groupOf(n) < 0 :
      kind === data.group ? (n) => groupOf(n) >= 0 && is(group(groupOf(n))) :
      kind && kind !== "cluster" ? (n) => is(named(kind, n)) : () => false;
    const every = Array.from({ length: wanted ? count : 0 }, (_, n) => n), labelled = every.filter(match);
    const found = labelled.length ? labelled : every.filter((n) => data.paths[n].toLowerCase().includes(wanted));
    select(found);
    if (found.length) choose(found[0]);
    else if (wanted) by("count").textContent = `No image found for ${text.trim()}`;
  }

  // controls

  const colours = [...grouped ? ["cluster"] : [], ...Object.keys(labels).filter((name) => labels[name]),
    ...frames.some((one) => one.margin.some((value) => value >= 0)) ? ["margin"] : [], ...grouped && frames.length > 1 ? ["change"] : []];
  by("colours").hidden = !colours.length;
  for (const name of colours) {
    const text = name === "cluster" ? data.group : name === data.group ? "label" : name;
    const button = element("button", text, { type: "button" });
    button.dataset.by = name;
    button.addEventListener("click", () => paint(name));
    by("colours").append(button);
  }
  const actions = {
    in: () => view && view.zoom(1.4), out: () => view && view.zoom(1 / 1.4), whole: () => view && view.whole(),
    play: () => play(), save, clear: () => { chosen = -1; select([]); },
  };
  for (const button of document.querySelectorAll("[data-do]"))
    button.addEventListener("click", () => actions[button.dataset.do]());
  for (const button of document.querySelectorAll("[data-mode]"))
    button.addEventListener("click", () => mode(button.dataset.mode));
  by("find").addEventListener("change", (event) => find(event.target.value));
  by("epoch").addEventListener("input", (event) => { play(false); go(Number(event.target.value)); });
  const keys = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.whole, Escape: actions.clear,
    l: () => mode(canvas.classList.contains("lasso") ? "panZoom" : "lasso"), ",": () => go(at - 1), ".": () => go(at + 1) };
  const arrows = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const arrow = event.target === canvas && view && arrows[event.key];
    const act = arrow ? () => view.pan(...arrow) : keys[event.key.toLowerCase()] || keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());

  by("about").textContent = `${images(count)}${data.images > count ? ` of ${data.images.toLocaleString("en")}` : ""}, ` +
    "arranged by t-SNE of their embeddings: near on the map is alike for the network.";
  by("epochs").hidden = frames.length < 2;
  by("epoch").max = frames.length - 1;
  paint(colours[0] || "");
  go(at);
})();

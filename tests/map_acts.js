"use strict";
/* Acts of a user on map.html; what they find out is written to <body data-told>. */
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const it = (id) => document.getElementById(id), canvas = it("map"), told = {};
const button = (name) => document.querySelector(name);
const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function drawn() {
  [copy.canvas.width, copy.canvas.height] = [canvas.width, canvas.height];
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data;
}
let last = "";
async function changed(name) {  // the picture is another than before
  await wait(700);
  for (let n = 0; n < 4; n += 1) await new Promise(requestAnimationFrame);  // time may be virtual, frames are not
  const now = drawn().join();
  told[name] = now !== last;
  last = now;
}
const mouse = (kind, x, y, more = {}) => canvas.dispatchEvent(new MouseEvent(kind, { clientX: x, clientY: y,
  buttons: kind === "mouseup" ? 0 : 1, bubbles: true, cancelable: true, view: window, ...more }));
const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
let csv = null;
const url = URL.createObjectURL;
URL.createObjectURL = (blob) => { if (blob.type === "text/csv") csv = blob; return url(blob); };
HTMLAnchorElement.prototype.click = () => {};
const find = (text) => { it("find").value = text; it("find").dispatchEvent(new Event("change")); };
const box = canvas.getBoundingClientRect();
const [cx, cy] = [box.left + box.width / 2, box.top + box.height / 2];

function aPoint() {  // where an image is drawn, in the coordinates of the window
  const pixels = drawn(), back = pixels.slice(0, 3).join();
  const painted = (at) => pixels.slice(at, at + 3).join() !== back;
  for (let y = 2; y < canvas.height - 4; y += 1)
    for (let x = 2; x < canvas.width - 4; x += 1) {
      const at = 4 * (y * canvas.width + x);
      if (painted(at) && painted(at + 12))
        return [box.left + (x + 2) * box.width / canvas.width, box.top + (y + 2) * box.height / canvas.height];
    }
  return null;
}
function painted() {  // share of the canvas
  const pixels = new Uint32Array(drawn().buffer);
  return pixels.filter((color) => color !== pixels[0]).length / pixels.length;
}

async function everything() {
  await changed("points");
  canvas.dispatchEvent(new WheelEvent("wheel", { clientX: cx, clientY: cy, deltaY: -200, bubbles: true,
    cancelable: true }));
  await changed("wheel");
  mouse("mousemove", cx, cy, { buttons: 0 }); mouse("mousedown", cx, cy);
  mouse("mousemove", cx + 60, cy + 30); await wait(50);
  mouse("mouseup", cx + 60, cy + 30);
  await changed("drag");
  for (const name of ["+", "ArrowLeft", "0"]) { key(name); await changed(`key ${name}`); }
  button('[data-by="camera"]').click();
  await changed("camera");
  told.legend = it("legend").textContent;
  for (const by of ["identity", "margin", "change"]) { button(`[data-by="${by}"]`).click(); await changed(by); }
  told.changes = it("legend").textContent;
  key("l");
  const around = [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -0.9]];
  const corner = ([x, y]) => [cx + x * (box.width / 2 - 4), cy + y * (box.height / 2 - 4)];
  mouse("mousemove", ...corner(around[0]), { buttons: 0 }); mouse("mousedown", ...corner(around[0]));
  for (const place of around.slice(1)) { mouse("mousemove", ...corner(place)); await wait(40); }
  mouse("mouseup", ...corner(around[4]));
  await wait(300);
  told.lasso = it("count").textContent;
  key("Escape");
  told.cleared = it("count").textContent;
  key("l");
  const [px, py] = aPoint();
  mouse("mousemove", px, py, { buttons: 0 }); await wait(50);
  told.tip = it("tip").hidden ? "" : it("tip").textContent;
  mouse("mousedown", px, py); mouse("mouseup", px, py); mouse("click", px, py);
  await wait(100);
  told.clicked = it("count").textContent;
  told.facts = it("image").querySelector("dl").textContent;
  told.link = it("image").querySelector("a").href;
  told.trays = [...it("image").querySelectorAll(".tray")].map((tray) => tray.querySelectorAll("button").length);
  it("image").querySelectorAll(".tile")[0].click();
  told.neighbour = it("image").querySelector("dl").textContent !== told.facts;
  find("cluster 2");
  told.cluster = it("count").textContent;
  it("epoch").value = 0; it("epoch").dispatchEvent(new Event("input"));
  await changed("slider");
  told.epoch = it("epoch-name").textContent;
  told.first = button('[data-by="change"]').disabled;
  find("camera cam 1");
  button('[data-do="save"]').click();
  told.csv = await csv.text();
  window.mapData.paths[5] = "outliers_c/x.png";
  window.mapData.paths[6] = "camera_9/identity.png";
  told.named = [];
  for (const name of ["outliers_c", "camera_9", "identity.png"]) { find(name); told.named.push(it("count").textContent); }
  find("no such file");
  told.missed = it("count").textContent;
  told.unreachable = [...document.querySelectorAll("#tools *, #view *, #side *")].filter((one) =>
    ["BUTTON", "INPUT", "A", "CANVAS"].includes(one.tagName) && !one.disabled && one.tabIndex < 0).length;
  told.nameless = [...document.querySelectorAll("button, input")].filter((one) =>
    !(one.textContent || one.getAttribute("aria-label"))).length;
}

async function fingers() {
  const touch = (kind, ...at) => {
    const touches = at.map(([x, y], n) => new Touch({ identifier: n, target: canvas, clientX: x, clientY: y }));
    canvas.dispatchEvent(new TouchEvent(kind, { touches: kind === "touchend" ? [] : touches,
      changedTouches: touches, bubbles: true, cancelable: true }));
  };
  await changed("points");
  const before = painted();
  touch("touchstart", [cx, cy]); await wait(100);
  touch("touchmove", [cx + 20, cy]); await wait(100);
  touch("touchend", [cx + 20, cy]);
  await changed("drag");
  told.kept = painted() / before;
  const place = aPoint();
  touch("touchstart", place); touch("touchend", place);
  await wait(100);
  told.tapped = it("count").textContent;
  key("Escape");
  touch("touchstart", [cx - 20, cy], [cx + 20, cy]); touch("touchmove", [cx - 60, cy], [cx + 60, cy]);
  await changed("pinch");
  find("cluster 1");
  told.tiles = it("image").querySelectorAll(".tile").length;
  told.wide = document.documentElement.scrollWidth > innerWidth;
  told.square = Math.abs(box.width - box.height) < 2;
  told.back = getComputedStyle(document.body).backgroundColor;
}

async function withoutWebgl() {
  told.said = it("no-webgl").offsetHeight > 0;
  find("identity 4");
  told.found = it("count").textContent;
}

async function fluently() {  // pictures a second, while the wheel turns
  await changed("points");
  const times = [];
  let before = performance.now();
  for (let n = 0; n < 60; n += 1) {
    canvas.dispatchEvent(new WheelEvent("wheel", { clientX: cx, clientY: cy, deltaY: n % 20 < 10 ? -20 : 20,
      bubbles: true, cancelable: true }));
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - before);
    before = now;
  }
  told.median = times.sort((a, b) => a - b)[30];
  find("cluster 1");
  told.found = it("count").textContent;
}

async function withoutClusters() {
  await changed("points");
  find(".png");
  button('[data-do="save"]').click();
  told.csv = (await csv.text()).split("\n").slice(0, 2);
  told.buttons = [...document.querySelectorAll("[data-by]")].map((one) => one.textContent);
  told.facts = [...it("image").querySelectorAll("dt")].map((one) => one.textContent);
}

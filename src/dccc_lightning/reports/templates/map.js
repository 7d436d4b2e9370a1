"use strict";
(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const canvas = document.getElementById("map-canvas");
  const tip = document.getElementById("tip");
  const picture = document.getElementById("map-thumbnails").src;
  const [tileWidth, tileHeight] = data.size;
  const pen = canvas.getContext("2d");
  let by = "cluster", chosen = -1, places = [];

  const color = (value) => {
    if (value < 0) return getComputedStyle(canvas).getPropertyValue("--none");
    return `hsl(${(value * 222.492236) % 360} 62% ${45 + 12 * (value % 2)}%)`;
  };

  function layOut() {
    const box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * scale);
    canvas.height = Math.round(box.height * scale);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const margin = 14;
    const widest = Math.max(...data.points.map((p) => p[0]), 1e-9);
    const highest = Math.max(...data.points.map((p) => p[1]), 1e-9);
    places = data.points.map(([x, y]) => [
      margin + (x / widest) * (box.width - 2 * margin),
      margin + (1 - y / highest) * (box.height - 2 * margin)]);
    draw();
  }

  function draw() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const group = chosen < 0 ? null : data[by][chosen];
    const order = places.map((_, i) => i);
    order.sort((a, b) => (data[by][a] < 0 ? 0 : 1) - (data[by][b] < 0 ? 0 : 1));
    for (const i of order) {
      const own = group !== null && group >= 0 && data[by][i] === group;
      pen.globalAlpha = group === null || group < 0 || own ? 0.9 : 0.15;
      pen.fillStyle = color(data[by][i]);
      pen.beginPath();
      pen.arc(places[i][0], places[i][1], i === chosen ? 6 : own ? 4.2 : 3, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function point(x, y) {
    let best = -1, nearest = 18 * 18;
    places.forEach(([a, b], i) => {
      const distance = (a - x) ** 2 + (b - y) ** 2;
      if (distance < nearest) [best, nearest] = [i, distance];
    });
    if (best !== chosen) { chosen = best; draw(); }
    show();
  }

  function show() {
    if (chosen < 0) { tip.style.display = "none"; return; }
    const columns = data.columns, zoom = 2;
    const image = document.createElement("div");
    image.style.width = `${tileWidth * zoom}px`;
    image.style.height = `${tileHeight * zoom}px`;
    image.style.backgroundImage = `url(${picture})`;
    image.style.backgroundSize = `${columns * tileWidth * zoom}px auto`;
    image.style.backgroundPosition =
      `${-(chosen % columns) * tileWidth * zoom}px ` +
      `${-Math.floor(chosen / columns) * tileHeight * zoom}px`;
    const cluster = data.cluster[chosen];
    const text = document.createElement("span");
    text.textContent = (cluster < 0 ? "outlier" : `cluster ${cluster}`) +
      (data.captions[chosen] ? `\n${data.captions[chosen]}` : "");
    tip.replaceChildren(image, text);
    tip.style.display = "block";
    const box = canvas.getBoundingClientRect(), [x, y] = places[chosen];
    const right = x + 14 + tip.offsetWidth < box.width;
    tip.style.left = `${Math.max(0, right ? x + 14 : x - 14 - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(0, Math.min(y - tip.offsetHeight / 2,
      box.height - tip.offsetHeight))}px`;
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    point(event.clientX - box.left, event.clientY - box.top);
  };
  canvas.addEventListener("pointermove", at);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") { chosen = -1; draw(); show(); }
  });
  const buttons = document.querySelectorAll("[data-by]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      by = button.dataset.by;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      draw();
    });
  }
  window.addEventListener("resize", layOut);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  layOut();
})();

"use strict";
/* Colours of the images of a map: palette, the place of each image in it, and legend. */
window.mapColours = (data, { labels, real }, element) => {
  const NONE = "none";
  const hues = Array.from({ length: 24 }, (_, n) => {
    const turn = (n * 137.508) % 360, light = 0.5 + 0.1 * (n % 3 - 1);
    return rgb(turn, 0.62, light);
  });
  function rgb(turn, full, light) {
    const part = (n) => {
      const k = (n + turn / 30) % 12;
      return light - full * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    };
    return "#" + [0, 8, 4].map((n) => Math.round(255 * part(n)).toString(16).padStart(2, "0")).join("");
  }
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const STEPS = 16;
  const CHANGE = ["c0", "c1", "c2", "c3", NONE];

  function colouring(colour, frame) {  // palette, the place of each image in it, legend
    const none = variable(NONE);
    if (colour === "margin") {
      const { margin } = frame, known = [...margin].filter((value) => value >= 0).map(real).sort((a, b) => a - b);
      const top = Math.max(known[Math.floor(known.length * 0.95)] || 0, 0.05);
      const ramp = Array.from({ length: STEPS }, (_, n) => rgb(30 + 180 * n / (STEPS - 1), 0.62, 0.52));
      const place = (value) => value < 0 ? 0 : real(value) < 0 ? 1 :
        2 + Math.min(STEPS - 1, Math.floor(STEPS * real(value) / top));
      const bar = element("span", "", { className: "ramp" });
      bar.style.background = `linear-gradient(90deg, ${ramp.join()})`;
      const line = element("span", "0");
      line.append(bar, top.toFixed(2));
      return [[none, variable("c3"), ...ramp], Int32Array.from(margin, place),
        [key("c3", "nearer to another centre"), line, key(NONE, known.length ? "outlier" : "no other cluster")]];
    }
    if (colour === "change")
      return [CHANGE.map(variable), frame.change, data.changes.map((text, n) => key(CHANGE[n], text))];
    if (colour === "") return [[variable("c0")], frame.cluster.map(() => 0), []];
    const codes = colour === "cluster" ? Int32Array.from(frame.cluster, (value) => value < 0 ? -1 : frame.hue[value]) :
      labels[colour].codes;
    const palette = [none, ...hues], value = Int32Array.from(codes, (code) => code < 0 ? 0 : 1 + code % hues.length);
    const names = colour !== "cluster" && labels[colour].names;
    const legend = names && names.length <= 12 ? names.map((name, n) => key(hues[n], name)) :
      [element("span", several(colour, new Set(codes).size - codes.includes(-1)))];
    if (codes.includes(-1)) legend.push(key(NONE, colour === "cluster" ? "outlier" : "unknown"));
    return [palette, value, legend];
  }
  function several(colour, n) {
    const name = colour === "cluster" ? data.group : colour, many = name.endsWith("y") ? `${name.slice(0, -1)}ies` : `${name}s`;
    return `${n.toLocaleString("en")} ${n === 1 ? name : many}${n > hues.length ? `, in ${hues.length} colours that repeat` : ""}`;
  }
  function key(paint, text) {
    const line = element("span"), mark = element("i");
    mark.style.background = paint.startsWith("#") ? paint : `var(--${paint})`;
    line.append(mark, text);
    return line;
  }
  return { colouring, variable };
};

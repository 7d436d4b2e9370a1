"use strict";
/* What window.mapData holds, unpacked: frames, labels and thumbnails. */
window.mapContent = (data) => {
  const count = data.paths.length;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const ints = ({ bits, data: text }) => {  // stored from 0 on: -1 is the lowest
    const { buffer } = bytes(text);
    const raw = bits === 8 ? new Uint8Array(buffer) : bits === 16 ? new Uint16Array(buffer) : new Uint32Array(buffer);
    return Int32Array.from(raw, (value) => value - 1);
  };

  const labels = { camera: null, identity: null };
  for (const name of Object.keys(labels))
    if (data[name]) labels[name] = { names: data[name].names, codes: ints(data[name].codes) };
  const frames = data.frames.map(({ name, ...columns }) => {
    const frame = { name };
    for (const [key, value] of Object.entries(columns)) frame[key] = ints(value);
    return frame;
  });
  const grouped = frames.some((frame) => frame.cluster.some((value) => value >= 0));
  const real = (value) => value < 0 ? null : (value - 20000) / 10000;  // of distance and margin
  const named = (name, n) => labels[name] && labels[name].codes[n] >= 0 ?
    labels[name].names[labels[name].codes[n]] : null;

  const { width, height, columns, rows } = data.tile, each = columns * rows, sheets = [];
  function sheet(number) {
    const source = data.sheets[number];
    if (!source.startsWith("data:")) return source;
    if (!sheets[number]) {
      const [head, text] = source.split(",");
      const type = head.slice(5).split(";")[0];
      sheets[number] = URL.createObjectURL(new Blob([bytes(text)], { type }));
    }
    return sheets[number];
  }
  function picture(target, n, tall) {
    const number = Math.floor(n / each), place = n % each, zoom = tall / height;
    const across = Math.min(columns, count - number * each);
    Object.assign(target.style, {
      width: `${Math.round(width * zoom)}px`, height: `${tall}px`, boxSizing: "content-box",
      backgroundImage: `url("${sheet(number)}")`, backgroundSize: `${across * width * zoom}px auto`,
      backgroundPosition: `${-(place % columns) * width * zoom}px ${-Math.floor(place / columns) * tall}px`,
    });
    return target;
  }
  return { count, labels, frames, grouped, real, named, picture };
};

"use strict";
/* The drawing of a map by regl-scatterplot: points, colours, selection, gestures. */
window.mapView = (canvas, listen) => {
  const style = () => getComputedStyle(document.documentElement);
  const ok = document.createElement("canvas").getContext("webgl");
  if (!ok) return null;
  const hex = (name) => style().getPropertyValue(name).trim();
  const frame = canvas.parentElement;  // the canvas itself gets a fixed size
  const size = () => ({ width: frame.clientWidth, height: frame.clientHeight });
  let points = null, drawn = Promise.resolve();
  const plot = window.scatter.default({
    canvas, ...size(), backgroundColor: hex("--card"), colorBy: "valueA", opacity: 0.9,
    opacityInactiveScale: 0.18, pointOutlineWidth: 1, pointSizeSelected: 2, deselectOnDblClick: false,
    deselectOnEscape: false, lassoMinDist: 6, lassoLineWidth: 2, lassoColor: hex("--c1"),
    annotationLineColor: hex("--line"), actionKeyMap: { lasso: "shift", merge: "ctrl", remove: "alt" },
  });
  plot.subscribe("select", ({ points: chosen }) => listen.select([...chosen]));
  plot.subscribe("pointOver", (point) => listen.over(point, plot.getScreenPosition(point)));
  plot.subscribe("pointOut", () => listen.over(-1));

  const moved = (change) => {
    const view = Float32Array.from(plot.get("cameraView"));
    change(view);
    plot.set({ cameraView: view });
  };
  const zoom = (by) => moved((view) => { for (const n of [0, 5, 12, 13]) view[n] *= by; });
  const pan = (x, y) => moved((view) => { view[12] += x; view[13] += y; });

  function draw(x, y, values, palette, order, moves) {  // one after the other
    drawn = drawn.then(() => {
      plot.set({ pointColor: palette, backgroundColor: hex("--card"), pointOrder: order,
        pointSize: values.length > 40000 ? 2.5 : values.length > 8000 ? 3.5 : values.length > 1500 ? 5 : 7 });
      const transition = moves && points !== null;
      points = { x, y, valueA: values, valueB: new Float32Array(values.length) };
      return plot.draw(points, { zDataType: "categorical", transition, transitionDuration: 500,
        select: plot.get("selectedPoints"), preventFilterReset: true });
    });
    return drawn;
  }

  // regl-scatterplot knows the mouse only: a finger becomes one, and two fingers its wheel.
  let apart = 0, start = null, down = false;
  const mouse = (kind, at, buttons = 1) => canvas.dispatchEvent(new MouseEvent(kind, { bubbles: true,
    cancelable: true, view: window, clientX: at.clientX, clientY: at.clientY, buttons }));
  const span = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const middle = ([a, b]) => ({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
  canvas.addEventListener("touchstart", (event) => {
    event.preventDefault();
    const { touches } = event;
    if (touches.length > 1) {
      if (down) mouse("mouseup", touches[0], 0);
      [start, down, apart] = [null, false, span(touches)];
      return;
    }
    const own = start = touches[0];
    mouse("mousemove", own, 0);
    // a mouse was there before it is pressed; else the view would jump by the way to the finger
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (start === own && !down) { down = true; mouse("mousedown", own); }
    }));
  }, { passive: false });
  canvas.addEventListener("touchmove", (event) => {
    event.preventDefault();
    const { touches } = event;
    if (touches.length === 1 && down) mouse("mousemove", touches[0]);
    if (touches.length !== 2) return;
    const now = span(touches), at = middle(touches);
    mouse("mousemove", at, 0);
    canvas.dispatchEvent(new WheelEvent("wheel", { ...at, bubbles: true, cancelable: true,
      deltaY: Math.log(apart / now) * canvas.clientHeight }));
    apart = now;
  }, { passive: false });
  canvas.addEventListener("touchend", (event) => {
    event.preventDefault();
    const at = event.changedTouches[0];
    if (!start) return;
    if (!down) mouse("mousedown", at);
    mouse("mouseup", at, 0);
    if (span([start, at]) < 8) mouse("click", at, 0);
    [start, down] = [null, false];
    listen.over(-1);
  }, { passive: false });

  new ResizeObserver(() => plot.set(size())).observe(frame);
  const whole = Float32Array.from(plot.get("cameraView"));
  return {
    draw, zoom, pan, plot, hex,
    whole: () => plot.set({ cameraView: Float32Array.from(whole) }),
    mode: (mode) => { plot.set({ mouseMode: mode }); canvas.classList.toggle("lasso", mode === "lasso"); },
    select: (chosen) => chosen.length ? plot.select(chosen, { preventEvent: true }) :
      plot.deselect({ preventEvent: true }),
  };
};

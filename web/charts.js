/*
 * The last minute on canvas, moving with the clock. Colours are those of style.css.
 */
import { WINDOW_MS, figures, paceLimit } from "./figures.js";

const REASON_COLOURS = 6;
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const count = (n) => grouped.format(Math.round(n));

const colours = {};

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["text", "quiet", "grid", "accepted", "left", "waiting", "sent", "alarm", "card"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  colours.reasons = Array.from({ length: REASON_COLOURS }, (_, i) => style.getPropertyValue(`--reason-${i + 1}`).trim());
}

export const reasonColour = (name) => colours.reasons[[...figures.reasons.keys()].indexOf(name) % REASON_COLOURS];

/* A round number from `value` up, so that the axis does not tremble with each value. */
function roundUp(value, steps) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return steps.map((step) => step * power).find((top) => top >= value);
}

function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  return value >= 1e4 ? `${+(value / 1e3).toFixed(1)}k` : count(value);
}

class Chart {
  top = 1;
  pointer = null;

  /* series: () => [{label, colour, fill, value: (sample) => n}], the first at the bottom when stacked. */
  constructor(id, series, { stacked = false, limit = () => 0 } = {}) {
    Object.assign(this, { canvas: document.getElementById(id), series, stacked, limit });
    this.canvas.addEventListener("pointermove", (e) => { this.pointer = e.offsetX; });
    this.canvas.addEventListener("pointerleave", () => { this.pointer = null; });
  }

  draw(now) {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const c = this.canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const area = { x: 44, y: 8, width: width - 52, height: height - 30 };
    const samples = figures.samples;
    const series = this.series();
    this.scale(samples, series);
    this.grid(c, area);
    const x = (at) => area.x + area.width * (1 - (now - at) / WINDOW_MS);
    const y = (value) => area.y + area.height * (1 - value / this.top);
    c.save();
    c.beginPath();
    c.rect(area.x, 0, area.width, height);
    c.clip();
    this.gaps(c, area, samples, x, now);
    this.lines(c, samples, series, x, y);
    this.limitLine(c, area, y);
    this.readout(c, area, samples, series, x, y);
    c.restore();
  }

  values(sample, series) {
    let base = 0;
    return series.map((s) => {
      const value = s.value(sample) || 0;
      base = this.stacked ? base + value : value;
      return base;
    });
  }

  /* Follows a new maximum at once and comes down slowly. */
  scale(samples, series) {
    let most = Math.max(this.limit() * 1.08, 4);
    for (const sample of samples) for (const value of this.values(sample, series)) most = Math.max(most, value);
    const wanted = this.limit() > 0 ? Math.max(most * 1.04, 10) : roundUp(most, [1, 1.5, 2, 3, 4, 6, 8, 10]);
    this.top = wanted > this.top ? wanted : this.top + (wanted - this.top) * 0.08;
  }

  grid(c, area) {
    c.strokeStyle = colours.grid;
    c.fillStyle = colours.quiet;
    c.lineWidth = 1;
    c.font = "11px system-ui, sans-serif";
    const step = roundUp(this.top / 5, [1, 2, 5, 10]);
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (let value = 0; value <= this.top; value += step) {
      const y = Math.round(area.y + area.height * (1 - value / this.top)) + 0.5;
      c.beginPath();
      c.moveTo(area.x, y);
      c.lineTo(area.x + area.width, y);
      c.stroke();
      c.fillText(short(value), area.x - 8, y);
    }
    c.textAlign = "center";
    c.textBaseline = "alphabetic";
    for (const seconds of [60, 45, 30, 15, 0]) {
      const x = area.x + area.width * (1 - (seconds * 1000) / WINDOW_MS);
      c.textAlign = seconds === 60 ? "left" : seconds === 0 ? "right" : "center";
      c.fillText(seconds === 0 ? "now" : `-${seconds} s`, x, area.y + area.height + 16);
    }
  }

  /* While there was no connection nothing is known: shaded, and no zero. */
  gaps(c, area, samples, x, now) {
    c.globalAlpha = 0.13;
    c.fillStyle = colours.alarm;
    for (let i = 1; i <= samples.length; i++) {
      const to = i < samples.length ? samples[i].at : now;
      if (to - samples[i - 1].at > 700)
        c.fillRect(x(samples[i - 1].at), area.y, x(to) - x(samples[i - 1].at), area.height);
    }
    c.globalAlpha = 1;
  }

  lines(c, samples, series, x, y) {
    if (samples.length < 2) return;
    const points = samples.map((sample) => ({ x: x(sample.at), values: this.values(sample, series) }));
    for (let s = series.length - 1; s >= 0; s--) {
      c.beginPath();
      points.forEach((p, i) => (i === 0 ? c.moveTo(p.x, y(p.values[s])) : c.lineTo(p.x, y(p.values[s]))));
      c.strokeStyle = c.fillStyle = series[s].colour;
      c.lineWidth = 2;
      c.lineJoin = "round";
      c.stroke();
      for (let i = points.length - 1; i >= 0; i--)
        c.lineTo(points[i].x, y(this.stacked && s > 0 ? points[i].values[s - 1] : 0));
      c.globalAlpha = this.stacked ? 0.32 : series[s].fill ?? 0.16;
      c.fill();
      c.globalAlpha = 1;
    }
  }

  limitLine(c, area, y) {
    if (this.limit() <= 0) return;
    c.strokeStyle = colours.alarm;
    c.lineWidth = 1.5;
    c.setLineDash([6, 5]);
    c.beginPath();
    c.moveTo(area.x, y(this.limit()));
    c.lineTo(area.x + area.width, y(this.limit()));
    c.stroke();
    c.setLineDash([]);
  }

  readout(c, area, samples, series, x, y) {
    if (this.pointer === null || samples.length === 0) return;
    const nearest = samples.reduce((a, b) => (Math.abs(x(b.at) - this.pointer) < Math.abs(x(a.at) - this.pointer) ? b : a));
    const at = x(nearest.at);
    const lines = series.map((s) => ({ text: `${s.label}  ${count(s.value(nearest) || 0)}`, colour: s.colour }));
    const width = Math.max(...lines.map((line) => c.measureText(line.text).width)) + 20;
    const left = at + width + 12 > area.x + area.width ? at - width - 10 : at + 10;
    c.strokeStyle = colours.quiet;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(at, area.y);
    c.lineTo(at, area.y + area.height);
    c.stroke();
    c.fillStyle = colours.card;
    c.fillRect(left, area.y + 4, width, lines.length * 17 + 8);
    c.strokeRect(left + 0.5, area.y + 4.5, width, lines.length * 17 + 8);
    c.textAlign = "left";
    lines.forEach((line, i) => {
      c.fillStyle = line.colour;
      c.fillText(line.text, left + 10, area.y + 20 + i * 17);
    });
  }
}

const charts = [
  new Chart("chart-accepted", () => [{ label: "accepted/s", colour: colours.accepted, value: (s) => s.acceptedRate }]),
  new Chart("chart-refused", () => [...figures.reasons.keys()].map((name) =>
    ({ label: name, colour: reasonColour(name), value: (s) => s.refusedRates[name] })), { stacked: true }),
  new Chart("chart-sent", () => [{ label: "attempts/s", colour: colours.sent, value: (s) => s.attemptRate }], { limit: paceLimit }),
  new Chart("chart-waiting", () => [
    { label: "waiting", colour: colours.waiting, value: (s) => s.waiting },
    { label: "left", colour: colours.left, fill: 0.1, value: (s) => s.left }]),
];

export const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export function drawCharts() {
  const now = performance.now();
  for (const chart of charts) chart.draw(now);
}

export function drawForever() {
  if (!document.hidden && !calm.matches) drawCharts();
  requestAnimationFrame(drawForever);
}

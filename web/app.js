/*
 * The console's page: numbers into the document, four times a second.
 *
 *   stream.js   the connection      figures.js   rates and totals      charts.js   the last minute
 *
 * Nothing is loaded from anywhere else.
 */
import { calm, count, drawCharts, drawForever, readColours, reasonColour } from "./charts.js";
import { figures, figuresAdd, figuresReset, paceLimit, sum } from "./figures.js";
import { follow, useToken } from "./stream.js";

const MOMENTS_MAX = 8;

const byId = (id) => document.getElementById(id);

function show(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

function duration(seconds) {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const moments = { lostAt: 0, open: null, soldOut: null, allSent: null, uptime: null };

function tell(text, bad = false) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString("en-GB");
  item.append(time, text);
  item.classList.toggle("bad", bad);
  byId("moments").prepend(item);
  while (byId("moments").children.length > MOMENTS_MAX) byId("moments").lastChild.remove();
}

/* Tells a change to true, but not the state in which the page was opened. */
function tellOnce(name, value, text) {
  if (value && moments[name] === false) tell(text);
  moments[name] = value;
}

function showConnection(counters) {
  if (moments.lostAt > 0) {
    const restarted = moments.uptime !== null && counters.uptime < moments.uptime;
    const seconds = ((performance.now() - moments.lostAt) / 1000).toFixed(1);
    tell(`${restarted ? "The server started again" : "Connected again"} after ${seconds} s`);
  } else if (moments.uptime === null) {
    tell("Connected");
  }
  moments.lostAt = 0;
  moments.uptime = counters.uptime;
  byId("connection").dataset.state = "live";
  show("connection-text", `live, up ${duration(counters.uptime || 0)}`);
}

function showCampaign(campaign, now) {
  byId("hero").hidden = !campaign;
  if (!campaign) return;
  const total = campaign.total || 0;
  const share = (n) => (total > 0 ? Math.min(100, (100 * n) / total) : 0);
  const underWay = Math.max(0, total - campaign.left - campaign.sent);
  show("campaign-name", campaign.name);
  show("campaign-state", campaignState(campaign));
  show("progress-percent", share(campaign.sent).toFixed(share(campaign.sent) === 100 ? 0 : 1));
  byId("bar-sent").style.width = `${share(campaign.sent)}%`;
  byId("bar-waiting").style.width = `${share(underWay)}%`;
  byId("bar-sent").parentElement.setAttribute("aria-valuenow", share(campaign.sent).toFixed(0));
  show("count-sent", count(campaign.sent));
  show("count-under-way", count(underWay));
  show("count-left", count(campaign.left));
  show("eta", now.sentRate > 0 && underWay > 0 ? `all sent in about ${duration(underWay / now.sentRate)}` :
    total > 0 && campaign.sent >= total ? "everything is sent" : "");
  show("left", count(campaign.left));
  show("total", count(total));
  show("failed-total", count(campaign.failed || 0));
  tellOnce("open", Boolean(campaign.open), `${campaign.name} is open`);
  tellOnce("soldOut", total > 0 && campaign.left === 0, "Nothing is left");
  tellOnce("allSent", total > 0 && campaign.sent >= total, "Everything is sent");
}

function campaignState(campaign) {
  const opens = Date.parse(campaign.opensAt || "");
  const until = (opens - Date.now()) / 1000;
  if (campaign.open && campaign.total > 0 && campaign.sent >= campaign.total) return "open, everything is given out";
  if (campaign.open) return campaign.left > 0 ? "open" : "open, nothing left at the moment";
  if (until > 0) return `opens in ${duration(Math.ceil(until))}, at ${new Date(opens).toLocaleTimeString("en-GB")}`;
  return campaign.closesAt && Date.parse(campaign.closesAt) <= Date.now() ? "closed" : "not open";
}

function showTiles(counters, now) {
  show("accepted-rate", count(now.acceptedRate));
  show("accepted-total", count(now.accepted));
  show("refused-rate", count(now.refusedRate));
  show("refused-total", count(Object.values(now.refused).reduce((a, b) => a + b, 0)));
  show("waiting", count(now.waiting));
  show("in-flight", count(sum(counters.queues, "inFlight")));
  show("delayed", count(sum(counters.queues, "delayed")));
  show("sent-rate", count(now.sentRate));
  show("sent-total", count(now.sent));
  const limit = paceLimit();
  show("most", count(figures.most));
  show("most-text", limit > 0 ? `attempts started, limit ${count(limit)}` : "attempts started");
  document.querySelector(".tile.pace").toggleAttribute("data-over", limit > 0 && figures.most > limit * 1.02);
  byId("limit-key").hidden = limit <= 0;
}

function reasonRow(name, value, most) {
  const row = document.createElement("tr");
  const bar = document.createElement("i");
  bar.style.width = `${(100 * value) / most}%`;
  bar.style.background = reasonColour(name);
  for (const content of [name, count(value), bar]) {
    const cell = document.createElement("td");
    cell.append(content);
    row.append(cell);
  }
  return row;
}

function showReasons(now) {
  const reasons = Object.entries(now.refused).sort((a, b) => b[1] - a[1]);
  byId("no-reasons").hidden = reasons.length > 0;
  const most = Math.max(1, ...reasons.map(([, value]) => value));
  byId("reasons").tBodies[0].replaceChildren(...reasons.map(([name, value]) => reasonRow(name, value, most)));
  byId("keys-refused").replaceChildren(...[...figures.reasons.keys()].map((name) => {
    const key = document.createElement("span");
    const mark = document.createElement("i");
    mark.style.background = reasonColour(name);
    key.append(mark, name);
    return key;
  }));
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
  return `${bytes.toFixed(i > 0 && bytes < 10 ? 1 : 0)} ${units[i]}`;
}

function milliseconds(seconds) {
  return seconds > 0 ? `${(seconds * 1000).toPrecision(seconds < 0.01 ? 2 : 3)} ms` : "-";
}

function showServer(counters) {
  const latency = counters.latency || {};
  const rows = [
    ["Answered, in the server, within (half / 99 %)", `${milliseconds(latency.p50)} / ${milliseconds(latency.p99)}`],
    ["Durable log position", count(counters.durable ?? counters.position ?? 0)],
    ["Log on disk", size(counters.logBytes || 0)],
    ["Disk flushes", count(counters.flushes || 0)],
    ["Snapshot at", count(counters.snapshotPosition || 0)],
    ["Memory", size(counters.memoryBytes || 0)],
    ["Connections", count(counters.http?.openConnections || 0)],
    ["Room on disk", counters.room || "-", counters.room && counters.room !== "ok"],
  ];
  byId("server").replaceChildren(...rows.flatMap(([name, value, bad]) => {
    const term = document.createElement("dt");
    const figure = document.createElement("dd");
    term.textContent = name;
    figure.textContent = value;
    figure.classList.toggle("bad", Boolean(bad));
    return [term, figure];
  }));
}

function showChoice(campaigns) {
  const choice = byId("campaign-choice");
  choice.hidden = campaigns.length < 2;
  const names = campaigns.map((c) => c.name);
  if (names.join("\n") === [...choice.options].map((o) => o.value).join("\n")) return;
  choice.replaceChildren(...names.map((name) => new Option(name, name)));
  choice.value = figures.campaign?.name || "";
}

function onCounters(counters) {
  const now = figuresAdd(counters);
  showConnection(counters);
  showChoice(counters.campaigns || []);
  showCampaign(figures.campaign, now);
  showTiles(counters, now);
  showReasons(now);
  showServer(counters);
  if (calm.matches) drawCharts();
}

function onLost() {
  byId("connection").dataset.state = "lost";
  show("connection-text", "no connection, trying again");
  if (moments.lostAt > 0 || moments.uptime === null) return;
  moments.lostAt = performance.now();
  tell("The connection was lost", true);
}

function chooseTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  readColours();
}

byId("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  localStorage.setItem("theme", dark ? "light" : "dark");
  chooseTheme(dark ? "light" : "dark");
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => readColours());
byId("campaign-choice").addEventListener("change", (event) => {
  figures.choice = event.target.value;
  figuresReset();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value.trim());
});

chooseTheme(localStorage.getItem("theme"));
drawForever();
follow({
  onCounters,
  onLost,
  onStatus: (status) => { byId("token-form").hidden = status !== 401 && status !== 403; },
});

/*
 * Follows GET /v1/events: connects, takes the stream apart, connects again for as long as it takes. By fetch
 * and not by EventSource, which can neither send a token nor tell a refusal from a lost connection.
 */

const SILENCE_MS = 4000; // a stream that says nothing for so long is broken
const RECONNECT_MS = 400;

const stream = { token: sessionStorage.getItem("token") || "", heardAt: 0, abort: null };

export function useToken(token) {
  stream.token = token;
  sessionStorage.setItem("token", token);
}

/* Until the connection ends. */
async function followOnce({ onCounters, onStatus }) {
  const headers = { Accept: "text/event-stream" };
  if (stream.token) headers.Authorization = `Bearer ${stream.token}`;
  stream.abort = new AbortController();
  stream.heardAt = performance.now();
  const answer = await fetch("v1/events", { headers, signal: stream.abort.signal, cache: "no-store" });
  onStatus(answer.status);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    stream.heardAt = performance.now();
    const events = (text + value).split(/\r?\n\r?\n/);
    text = events.pop();
    for (const event of events) takeEvent(event, onCounters);
  }
}

function takeEvent(event, onCounters) {
  let name = "message";
  const data = [];
  for (const line of event.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  if (name === "counters" && data.length > 0) onCounters(JSON.parse(data.join("\n")));
}

/* onCounters(object) for each event; onStatus(number) for each connection; onLost() when one has ended. */
export async function follow(handlers) {
  for (;;) {
    try {
      await followOnce(handlers);
    } catch (error) {
      if (!(error instanceof TypeError || error.name === "AbortError")) console.warn(error);
    }
    handlers.onLost();
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

setInterval(() => {
  if (stream.abort && performance.now() - stream.heardAt > SILENCE_MS) stream.abort.abort();
}, 1000);

"use strict";
// Times in the viewer's own zone, and everything marked data-live kept as the server now says it.

const FORMS = {
  time: { hour: "2-digit", minute: "2-digit" },
  moment: { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  day: { year: "numeric", month: "short", day: "numeric" },
};

function ago(at) {
  const seconds = Math.max(0, Math.round((Date.now() - at) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

function localTimes(root) {
  for (const element of root.querySelectorAll("time[data-form]")) {
    const at = new Date(element.dateTime);
    const form = element.dataset.form;
    element.title = element.dateTime;
    element.textContent = form === "ago" ? ago(at) : at.toLocaleString([], FORMS[form]);
  }
}

// --- live ---

const LOOK_AGAIN_MS = 5000;  // the server's own pace; asking more often gets the same answer
const shown = new Map();     // what the server last said, element by element
let lookedAt = Date.now();
let freshAt = Date.now();    // when the server last said how things are
let timer = null;

function remember(root) {
  for (const part of root.querySelectorAll("[data-live]")) shown.set(part.id, part.innerHTML);
}

function replace(part, fresh) {
  if (shown.get(part.id) === fresh.innerHTML || part.contains(document.activeElement)) return;
  const open = [...part.querySelectorAll("details[open]")].map((one) => one.id);
  shown.set(part.id, fresh.innerHTML);
  part.className = fresh.className;
  part.replaceChildren(...fresh.childNodes);
  for (const one of part.querySelectorAll("details")) one.open = open.includes(one.id);
  localTimes(part);
}

async function look() {
  timer = null;
  lookedAt = Date.now();
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  freshAt = lookedAt;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other) replace(part, other);
  }
  document.dispatchEvent(new CustomEvent("swarming:looked"));
}

function lookSoon() {
  if (timer !== null) return;
  const wait = Math.max(300, LOOK_AGAIN_MS - (Date.now() - lookedAt));
  timer = setTimeout(() => look().catch(() => {}), wait);
}

// --- the stream; closed while nobody sees the page, for browsers open only six to a server ---

let stream = null;
let lost = null;              // the timer since the stream broke, or that it is told
const LOST_MS = 5000;         // a server that is started again is back by then

// What is shown is of the past: dimmed, and with its time.
function age() {
  const at = new Date(freshAt).toLocaleTimeString([], FORMS.time);
  const note = document.getElementById("stale");
  note.textContent = `As of ${at}: the indexer does not answer, so that what is below may be over.`;
  note.hidden = false;
  document.body.classList.add("stale");
}

function renew() {
  clearTimeout(lost);
  lost = null;
  document.getElementById("stale").hidden = true;
  document.body.classList.remove("stale");
}

function pulse(state, text) {
  document.getElementById("pulse").dataset.state = state;
  document.getElementById("pulse-text").textContent = text;
}

function listen() {
  if (stream !== null || document.hidden) return;
  stream = new EventSource("/events");
  stream.addEventListener("hello", () => { renew(); pulse("on", "live"); lookSoon(); });
  stream.addEventListener("error", () => {
    pulse("off", "the indexer does not answer; trying again");
    lost ??= setTimeout(age, LOST_MS);
    if (stream !== null && stream.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(listen, 30000);
    }
  });
  stream.addEventListener("results", (event) => {
    const told = JSON.parse(event.data);
    if (told.last) pulse("on", told.last.text);
    lookSoon();
  });
  for (const kind of ["agent", "list", "verdict", "health"]) stream.addEventListener(kind, lookSoon);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream !== null) {
    stream.close();
    stream = null;
    clearTimeout(lost);
    lost = null;
  }
  listen();
});

addEventListener("pagehide", () => { if (stream !== null) stream.close(); });

for (const select of document.querySelectorAll("select[data-submit]")) {
  select.addEventListener("change", () => {
    location.href = select.value ? `/?agent=${encodeURIComponent(select.value)}` : "/";
  });
}

for (const button of document.querySelectorAll("[data-needless]")) button.hidden = true;

remember(document);
localTimes(document);
setInterval(() => localTimes(document), 30000);
listen();

// The page: states come by server-sent events, timelines by request. Times are ages, so no clock needs to be right.
"use strict";

const OURS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "uncertain"];
const SVG = "http://www.w3.org/2000/svg";
const SILENT_MS = 5000; // without news: the connection counts as lost
const TIMELINE_MS = { "10min": 2000, "24h": 30000 };
const PICTURE_MS = 200; // at least, from one picture to the next
const REFUSED_MS = 8000; // for which a refusal can be read
const AGO = { "10min": "10 min ago", "24h": "24 h ago" };

const $ = (id) => document.getElementById(id);
const tiles = new Map(); // camera -> Tile
let state = null;
let heard = performance.now();
let refused = { words: "", until: 0 }; // why the preview did not turn

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function svg(kind, attributes) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function percent(part) {
  return `${Math.round(part * 100)} %`;
}

function age(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

function color(label) {
  if (OURS.includes(label)) return `e-${label}`;
  return `e-${Math.max(0, (state?.labels ?? []).indexOf(label)) % 6}`;
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return answer.ok ? "" : (await answer.text()).trim() || `refused (${answer.status})`;
}

class Tile {
  constructor(name) {
    this.name = name;
    this.node = $("camera").content.cloneNode(true).firstElementChild;
    this.span = "10min";
    this.due = 0; // when the timeline is asked for next
    this.size = [4, 3]; // of the picture last shown: one that is being loaded has none
    this.edited = new Map(); // input -> until when the page's own value stays
    this.node.dataset.camera = name;
    this.node.setAttribute("aria-label", `Camera ${name}`);
    this.find("h2").textContent = name;
    const image = this.find(".picture img");
    image.alt = `Picture of camera ${name}`;
    image.addEventListener("load", () => { this.size = [image.naturalWidth, image.naturalHeight]; });
    for (const button of this.node.querySelectorAll(".spans button")) {
      button.addEventListener("click", () => this.choose(button));
    }
    const form = this.find("form");
    form.setAttribute("aria-label", `Switches of camera ${name}`);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => this.turn(event.target));
    form.addEventListener("input", (event) => this.edited.set(event.target, performance.now() + 10000));
  }

  find(selector) {
    return this.node.querySelector(selector);
  }

  choose(button) {
    this.span = button.dataset.span;
    for (const other of this.node.querySelectorAll(".spans button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    this.due = 0;
    lookAtTimelines();
  }

  async turn(input) {
    const value = input.type === "checkbox" ? (input.checked ? "ON" : "OFF") : input.value.trim();
    const output = this.find("output");
    this.edited.set(input, performance.now() + 3000);
    let error = "expected a number";
    if (input.checkValidity() && value) {
      error = await post("switch", { camera: this.name, switch: input.name, value })
        .catch(() => "the device does not answer");
    }
    write(output, error && `${input.name.replace("_", " ")}: ${error}`);
    if (error) this.edited.delete(input);
  }

  show(camera) {
    const status = this.find(".status");
    write(status, camera.status);
    status.className = `pill status ${camera.status}`;
    const words = this.find(".words");
    words.hidden = !camera.words || camera.words === camera.status;
    write(words, camera.words);
    const faces = camera.faces;
    const what = faces.length === 1 ? `One face: ${faces[0].emotion}` : `${faces.length} faces, largest ${faces[0]?.emotion}`;
    write(this.find(".summary"), faces.length ? what : "Nobody in view");
    const news = camera.age_s === null ? "no frame yet" : `last frame ${camera.age_s < 10 ? camera.age_s.toFixed(1) + " s" : age(camera.age_s)} ago`;
    const fares = [`${camera.fps.toFixed(1)} fps`, news];
    if (camera.latency_ms !== null) fares.push(`${camera.latency_ms} ms`);
    if (camera.picture && camera.picture !== "ok") fares.push(camera.picture);
    write(this.find(".fares"), fares.join(" · "));
    this.showFaces(faces);
    this.showSwitches(camera.switches);
    this.showBoxes(camera);
  }

  showFaces(faces) {
    const list = this.find(".faces");
    const shown = new Map([...list.children].map((item) => [item.dataset.track, item]));
    faces.forEach((face, place) => {
      const item = shown.get(String(face.track)) ?? $("face").content.cloneNode(true).firstElementChild;
      shown.delete(String(face.track));
      item.dataset.track = face.track;
      const strong = item.querySelector("strong");
      write(strong, `${face.emotion} ${percent(face.confidence)}`);
      strong.className = color(face.emotion);
      write(item.querySelector(".since"), `face ${face.track}, in view for ${age(face.age)}`);
      this.showBars(item.querySelector(".bars"), face.scores);
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    });
    for (const gone of shown.values()) gone.remove();
  }

  showBars(bars, scores) {
    const labels = Object.keys(scores);
    if (bars.dataset.labels !== labels.join()) {
      bars.dataset.labels = labels.join();
      bars.replaceChildren(...labels.flatMap((label) => {
        const [name, bar, number] = ["dt", "dd", "dd"].map((tag) => document.createElement(tag));
        name.textContent = label;
        const progress = document.createElement("progress");
        progress.max = 1;
        progress.className = color(label);
        bar.setAttribute("aria-hidden", "true"); // the number says it
        bar.append(progress);
        number.className = "number";
        return [name, bar, number];
      }));
    }
    labels.forEach((label, index) => {
      bars.children[3 * index + 1].firstElementChild.value = scores[label];
      write(bars.children[3 * index + 2], percent(scores[label]));
    });
  }

  showSwitches(switches) {
    const now = performance.now();
    for (const [name, value] of Object.entries(switches)) {
      const input = this.find(`[name="${name}"]`);
      if (!input) continue;
      const set = input.type === "checkbox" ? (input.checked ? "ON" : "OFF") : input.value;
      if (set === value) this.edited.delete(input);
      if ((this.edited.get(input) ?? 0) > now) continue;
      if (input.type === "checkbox") input.checked = value === "ON";
      else if (set !== value) input.value = value;
    }
  }

  showBoxes(camera) {
    const picture = this.find(".picture");
    picture.hidden = !state.preview.on || !picture.firstElementChild.src;
    if (!state.preview.on) picture.firstElementChild.removeAttribute("src");
    if (picture.hidden) return;
    const [width, height] = this.size;
    const drawing = this.find(".picture svg");
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("font-size", (width / 26).toFixed(1));
    drawing.replaceChildren(...camera.faces.flatMap((face) => {
      const [x, y, wide, high] = face.box.map((part, side) => part * (side % 2 ? height : width));
      const label = svg("text", { x, y: y > width / 20 ? y - 5 : y + high + width / 26, class: color(face.emotion) });
      label.textContent = `${face.emotion} ${percent(face.confidence)}`;
      return [svg("rect", { x, y, width: wide, height: high, class: color(face.emotion) }), label];
    }));
  }

  showTimeline(told) {
    const buckets = told.cameras[this.name] ?? [];
    const drawing = this.find(".timeline svg");
    drawing.setAttribute("viewBox", `0 0 ${told.buckets} 100`);
    const sums = new Map();
    const paths = new Map();
    const most = Math.max(told.bucket_s, ...buckets.map((it) => Object.values(it).reduce((a, b) => a + b, 0)));
    buckets.forEach((bucket, index) => {
      const x = told.buckets - buckets.length + index;
      let y = 100;
      for (const label of [...(state?.labels ?? []), "uncertain"]) {
        const seconds = bucket[label] ?? 0;
        if (!seconds) continue;
        const height = 100 * seconds / most;
        y -= height;
        paths.set(label, `${paths.get(label) ?? ""}M${x} ${y.toFixed(2)}h1v${height.toFixed(2)}h-1z`);
        sums.set(label, (sums.get(label) ?? 0) + seconds);
      }
    });
    drawing.replaceChildren(...[...paths].map(([label, path]) => svg("path", { d: path, class: color(label) })));
    const all = [...sums.values()].reduce((a, b) => a + b, 0);
    const shares = [...sums].sort((a, b) => b[1] - a[1]).map(([label, sum]) => [label, percent(sum / all)]);
    drawing.setAttribute("aria-label", `Timeline of ${AGO[this.span].replace(" ago", "")}: `
      + (shares.map((pair) => pair.join(" ")).join(", ") || "no face"));
    drawing.dataset.seconds = all.toFixed(1);
    write(this.find(".from"), AGO[this.span]);
    this.find("figcaption").replaceChildren(...shares.map(([label, share]) => {
      const entry = document.createElement("span");
      entry.className = color(label);
      entry.textContent = `${label} ${share}`;
      return entry;
    }));
  }
}

function show() {
  document.title = `${state.node} · emotion-edge`;
  write($("node"), state.node);
  write($("about"), `emotion-edge ${state.version} · ${state.model} · ${state.runtime} · ${state.detector}`);
  const names = state.cameras.map((camera) => camera.name);
  for (const [name, tile] of tiles) {
    if (!names.includes(name)) {
      tile.node.remove();
      tiles.delete(name);
    }
  }
  for (const camera of state.cameras) {
    if (!tiles.has(camera.name)) {
      tiles.set(camera.name, new Tile(camera.name));
      $("cameras").append(tiles.get(camera.name).node);
    }
    tiles.get(camera.name).show(camera);
  }
  showPairs($("health"), state.health);
  showFaults();
  showPreview();
}

function showPairs(list, pairs) {
  if (list.children.length !== 2 * pairs.length) {
    list.replaceChildren(...pairs.flatMap(() => [document.createElement("dt"), document.createElement("dd")]));
  }
  pairs.forEach(([what, words], index) => {
    write(list.children[2 * index], what);
    write(list.children[2 * index + 1], words);
  });
}

function showFaults() {
  const list = $("faults");
  const lines = state.faults.map((fault) => `${age(fault.age_s)} ago: ${fault.words}`);
  while (list.children.length > Math.max(1, lines.length)) list.lastElementChild.remove();
  (lines.length ? lines : ["none since the start"]).forEach((line, index) => {
    write(list.children[index] ?? list.appendChild(document.createElement("li")), line);
  });
}

function showPreview() {
  const { allowed, on, left_s: left, blurred } = state.preview;
  const button = $("preview");
  button.hidden = !allowed;
  write(button, on ? "Hide pictures" : "Show pictures");
  const notice = $("notice");
  const failed = performance.now() < refused.until;
  notice.hidden = !on && !failed;
  const minutes = Math.max(1, Math.ceil(left / 60));
  const lines = [];
  if (failed) lines.push(`Preview: ${refused.words}.`);
  if (on) {
    lines.push(`Preview is on: ${blurred ? "pictures with blurred faces" : "pictures"} can be seen on this page, `
      + `for ${minutes} more ${minutes === 1 ? "minute" : "minutes"} at most; MQTT says so.`);
  }
  write(notice, lines.join(" "));
}

async function lookAtTimelines() {
  const now = performance.now();
  for (const span of Object.keys(AGO)) {
    const due = [...tiles.values()].filter((tile) => tile.span === span && now >= tile.due);
    if (!due.length || document.hidden) continue;
    for (const tile of due) tile.due = now + TIMELINE_MS[span];
    const answer = await fetch(`timelines?span=${span}`).catch(() => null);
    if (!answer?.ok) continue;
    const told = await answer.json();
    for (const tile of due) tile.showTimeline(told);
  }
}

async function lookAtPictures() {
  for (;;) {
    const began = performance.now();
    if (state?.preview.on && !document.hidden) {
      await Promise.all([...tiles.values()].map(lookAtPicture));
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(20, PICTURE_MS - (performance.now() - began))));
  }
}

async function lookAtPicture(tile) {
  const answer = await fetch(`preview/${tile.name}`).catch(() => null);
  const image = tile.find(".picture img");
  const before = image.src;
  if (answer?.status === 200) image.src = URL.createObjectURL(await answer.blob());
  else image.removeAttribute("src");
  if (before) URL.revokeObjectURL(before);
}

function listen() {
  const events = new EventSource("events");
  events.onmessage = (event) => {
    heard = performance.now();
    state = JSON.parse(event.data);
    show();
  };
  events.onerror = () => {
    if (events.readyState !== EventSource.CLOSED) return;
    // Refused, not lost: the token was rotated, say. The page itself asks for it.
    fetch("settings").then((answer) => answer.status === 401 && location.reload()).catch(() => {});
    setTimeout(listen, 3000);
  };
}

function showLink() {
  const silent = performance.now() - heard;
  const link = $("link");
  const lost = silent > SILENT_MS;
  write(link, lost ? `no news for ${age(silent / 1000)}` : state ? "live" : "connecting");
  link.className = `pill ${lost ? "lost" : state ? "online" : ""}`;
}

$("preview").addEventListener("click", async () => {
  const error = await post("preview", { on: !state.preview.on }).catch(() => "the device does not answer");
  refused = { words: error, until: error ? performance.now() + REFUSED_MS : 0 };
  showPreview();
});
$("settings").addEventListener("toggle", async (event) => {
  if (!event.target.open) return;
  const answer = await fetch("settings").catch(() => null);
  write(event.target.querySelector("pre"), answer?.ok ? await answer.text() : "the device does not answer");
});
listen();
lookAtPictures();
setInterval(lookAtTimelines, 500);
setInterval(showLink, 500);

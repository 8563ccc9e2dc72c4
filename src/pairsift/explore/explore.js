"use strict";
/* Text out of the data enters the page through textContent and attributes only. */
const $ = (id) => document.getElementById(id);
const format = (n) => n.toLocaleString("en-US");
const form = $("filter");
const FIELDS = ["q", "where", "fate", "sort", "order", "label"];
const PAGE = 24;
let summary, page = 0, total = 0, asked = 0;
/* Labels: what this window has done, to undo it; requests wait for each other, so none overtakes. */
const done = [];
let sending = Promise.resolve(), changed = false;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

async function get(path, how) {
  const response = await fetch(path, how);
  const body = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(body.error);
  return body;
}

function options(select, choices) {
  for (const [value, words] of choices) select.append(element("option", { value }, words));
}

/* What is shown is in the address, so that it can be reloaded, kept and gone back to. */
function readAddress() {
  const search = new URLSearchParams(location.search);
  for (const name of FIELDS) if (search.has(name)) form.elements[name].value = search.get(name);
  page = Math.max(0, Number(search.get("page") || 1) - 1) || 0;
}

function parameters() {
  const search = new URLSearchParams();
  for (const name of FIELDS) if (form.elements[name].value) search.set(name, form.elements[name].value);
  return search;
}

function writeAddress() {
  const search = parameters();
  search.set("page", page + 1);
  history.pushState(null, "", `?${search}`);
}

function image(row, eager) {
  const box = element("div", { class: summary.pool ? "photo" : "photo bare" });
  if (row.status === "ok" && !summary.pool) box.append(element("span", {}, "imported without its pool"));
  else if (row.status === "ok") {
    const picture = element("img", { src: `image/${row.pos}`, alt: row.caption ?? "", decoding: "async" });
    if (!eager) picture.loading = "lazy";
    picture.addEventListener("error", () => picture.replaceWith(element("span", {}, "the picture cannot be read")));
    box.append(picture);
  } else {
    box.append(element("span", {}, row.error || summary.statuses[row.status] || row.status));
  }
  return box;
}

function caption(text, attributes) {
  if (text === null) return element("p", { ...attributes, class: "caption none" }, summary.pool ? "caption not read yet" : "no caption");
  return element("p", attributes, element("bdi", { dir: "auto" }, text));
}

function card(row) {
  const photo = image(row);
  const fate = row.status !== "ok" ? ["failed", row.status] : summary.selection === null ? null : row.kept ? ["kept", "kept"] : ["dropped", "dropped"];
  if (fate) photo.append(element("span", { class: `fate is-${fate[0]}` }, fate[1]));
  const scores = element("dl", { class: "scores" });
  if (row.status === "ok") for (const { name, title, asks, low, high } of summary.columns) {
    const value = row[name];
    const value_shown = value === null ? "–" : Math.abs(high) >= 10 ? value.toFixed(1) : value.toFixed(3);
    const meter = element("meter", { min: low, max: high, value: value ?? low, "aria-hidden": "true" });
    scores.append(element("dt", { title: `${title}, ${low} to ${high}. ${asks}` }, name), element("dd", {}, meter), element("dd", {}, value_shown));
  }
  const copies = row.copy_group ? [element("p", { class: "copy" }, copiesButton(row))] : [];
  const kinds = summary.kinds.filter((name) => row[name] !== null).map((name) => kindButton(name, row[name]));
  const size = row.width ? ` · ${row.width}×${row.height}` : "";
  const open = element("button", { type: "button", "aria-label": `Details of ${row.key}` }, photo);
  open.addEventListener("click", () => detail(row));
  const made = element("li", { class: "card" }, open, caption(row.caption, { class: "caption" }), scores,
    ...(kinds.length ? [element("p", { class: "kinds" }, ...kinds)] : []), element("p", { class: "key" }, element("bdi", {}, row.shard), " / ", element("bdi", {}, row.key), size), ...copies);
  made.row = row;
  if (summary.labels && row.status === "ok") made.append(labelButtons(made));
  return made;
}

function labelButtons(made) {
  const group = element("div", { class: "label", role: "group", "aria-label": `Label of ${made.row.key}` });
  for (const name of summary.labels) {
    const button = element("button", { type: "button", value: name }, name);
    button.addEventListener("click", () => label(made, name));
    group.append(button);
  }
  showLabel(made, made.row.label, group);
  return group;
}

function showLabel(made, now, group = made.querySelector(".label")) {
  made.row.label = now;
  made.dataset.label = now ? now.label : "";
  for (const button of group.children) button.setAttribute("aria-pressed", String(now !== null && button.value === now.label));
  group.title = now ? `${now.label}, by ${now.by}, ${now.at}` : "";
}

function showCounts(counts) {
  if (!counts) return;
  const labelled = summary.labels.reduce((sum, name) => sum + (counts[name] || 0), 0);
  const each = summary.labels.map((name) => `${format(counts[name] || 0)} ${name}`).join(", ");
  $("progress").textContent = `${format(labelled)} of ${format(counts.of)} pairs labelled: ${each}`;
  $("share").value = counts.of ? labelled / counts.of : 0;
}

/* One request after the other; `use` gets the answer. What fails is told, and nothing is shown as saved. */
function send(body, use) {
  document.documentElement.dataset.sending = "true";
  sending = sending.then(async () => {
    try {
      const answer = await get("api/label", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body()) });
      $("told").textContent = "";
      use(answer);
      showCounts(answer.labels);
    } catch (error) {
      $("told").textContent = `Not saved: ${error.message}`;
    }
  });
  const mine = sending;
  mine.then(() => { if (mine === sending) document.documentElement.dataset.sending = "false"; });
}

function label(made, name) {
  const { pos, key } = made.row;
  send(() => ({ pos, label: name }), ({ label: now, before }) => {
    if (before && before.label !== name) $("told").textContent = `${key} was ${before.label}, by ${before.by}, ${before.at}; it is ${name} now.`;
    done.push({ pos, number: now.number });
    $("undo").disabled = false;
    changed = true;
    showLabel(made, now);
  });
}

function undo() {
  let last;
  send(() => { last = done.pop(); if (!last) throw new Error("there is nothing to undo in this window"); return { pos: last.pos, undo: last.number }; }, ({ label: now }) => {
    changed = true;
    const made = [...$("cards").children].find((one) => one.row.pos === last.pos);
    if (made) { showLabel(made, now); made.querySelector("button").focus(); }
  });
  sending.then(() => { $("undo").disabled = done.length === 0; });
}

/* Who sees the scores may agree with them. */
function hideScores() {
  const hidden = document.body.classList.toggle("blind");
  $("blind").setAttribute("aria-pressed", String(hidden));
}

/* The pair that keys are about: the one with the focus, else the first. */
function current() {
  const cards = [...$("cards").children];
  const at = cards.findIndex((made) => made.contains(document.activeElement));
  return { cards, at: Math.max(0, at), none: at < 0 };
}

function moveBy(step) {
  const { cards, at, none } = current();
  const next = cards[none ? 0 : at + step];
  if (next) next.querySelector("button").focus();
}

function byKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea") || $("detail").open) return;
  const key = event.key.toLowerCase();
  const name = summary.labels.find((label) => label[0] === key);
  if (name) {
    const { cards, at } = current();
    const made = cards[at];
    if (!made || made.row.status !== "ok") return;
    label(made, name);
    if (at + 1 < cards.length) cards[at + 1].querySelector("button").focus();
    else if (!$("next").disabled || form.elements.label.value === "unlabelled") sending.then(forward);
  } else if (key === "z") undo();
  else if (key === "h") hideScores();
  else if (key === "arrowright") moveBy(1);
  else if (key === "arrowleft") moveBy(-1);
  else return;
  event.preventDefault();
}

/* Pairs that were labelled are gone from the unlabelled ones, so the next of those are on the same page. */
function forward() {
  turnTo(changed && form.elements.label.value === "unlabelled" ? page : page + 1);
}

/* A column's name as a condition has it. */
function column(name) {
  return /^[a-z_]\w*$/i.test(name) ? name : JSON.stringify(name);
}

/* A text of the row, such as a carried domain: the button adds it to the condition. */
function kindButton(name, value) {
  const button = element("button", { type: "button", title: `Only ${name}: ${value}` }, element("bdi", {}, value));
  button.addEventListener("click", () => {
    const field = form.elements.where, before = field.value.trim();
    const only = `${column(name)} = '${value.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}'`;
    field.value = before ? `(${before}) and ${only}` : only;
    turnTo(0);
  });
  return button;
}

function copiesButton(row) {
  const button = element("button", { type: "button" }, `${format(row.copies)} copies`);
  button.setAttribute("aria-label", `Show the ${row.copies} copies of ${row.key}`);
  button.addEventListener("click", () => {
    form.reset();
    form.elements.where.value = `copy_group = "${row.copy_group}"`;
    turnTo(0);
  });
  return button;
}

async function detail(row) {
  const { row: columns, caption: text } = await get(`api/row/${row.pos}`);
  $("detail-key").textContent = `${row.shard} / ${row.key}`;
  $("detail-image").replaceChildren(...image(row, true).childNodes);
  $("detail-caption").replaceChildren(...caption(text, {}).childNodes);
  const list = $("detail-row");
  list.replaceChildren();
  for (const [name, value] of Object.entries(columns))
    if (value !== null) list.append(element("dt", {}, name), element("dd", {}, element("bdi", {}, String(value))));
  $("detail").showModal();
}

function captionsRead(found) {
  const known = found.captions_read + found.captions_unread;
  const so_far = known < found.shards ? ` Captions of ${format(found.captions_read)} of ${format(found.shards)} shards are read so far.` : "";
  return so_far + (found.captions_unread ? ` Captions of ${format(found.captions_unread)} shards cannot be read: ${found.why}` : "");
}

async function show() {
  const turn = ++asked;
  const search = parameters();
  search.set("page", page);
  search.set("size", PAGE);
  $("cards").setAttribute("aria-busy", "true");
  try {
    const found = await get(`api/rows?${search}`);
    if (turn !== asked) return;
    total = found.total;
    if (page > 0 && total > 0 && found.rows.length === 0) { page = Math.ceil(total / PAGE) - 1; return show(); }
    $("cards").replaceChildren(...found.rows.map(card));
    $("problem").hidden = true;
    changed = false;
    showCounts(found.labels);
    $("status").textContent = `${format(total)} of ${format(summary.rows)} pairs.${captionsRead(found)}`;
  } catch (error) {
    if (turn !== asked) return;
    total = 0;
    $("cards").replaceChildren();
    $("problem").textContent = error.message;
    $("problem").hidden = false;
    $("status").textContent = "";
  }
  const pages = Math.max(1, Math.ceil(total / PAGE));
  $("where-am-i").textContent = `page ${format(page + 1)} of ${format(pages)}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page + 1 >= pages;
  $("cards").removeAttribute("aria-busy");
  document.documentElement.dataset.shown = String(turn);
}

function turnTo(next) {
  page = next;
  writeAddress();
  show().then(() => { scrollTo(0, 0); $("results").focus({ preventScroll: true }); });
}

async function start() {
  summary = await get("api/summary");
  $("title").textContent = summary.scores;
  $("lead").textContent = summary.selection === null
    ? `${format(summary.rows)} pairs, ${format(summary.failed)} failed`
    : `${format(summary.kept)} of ${format(summary.rows)} kept by ${summary.selection}; ${format(summary.dropped)} dropped, ${format(summary.failed)} failed`;
  if (summary.changed) {
    const [shard, how] = summary.first_changed;
    $("lead").textContent += `. ${format(summary.changed)} shards have changed since they were scored; first ${shard}: ${how}`;
  }
  const fates = [["all", "all"], ["ok", "scored"]];
  if (summary.selection !== null) fates.push(["kept", "kept"], ["dropped", "dropped"]);
  options($("fate"), [...fates, ["failed", "failed"], ...Object.keys(summary.statuses).map((name) => [name, name])]);
  options($("sort"), [["place", "position in the shards"], ...[...summary.columns.map((c) => c.name), ...summary.more].map((name) => [name, name])]);
  if (summary.labels) {
    for (const part of document.querySelectorAll("[data-labels]")) part.hidden = false;
    options($("label"), [["all", "all"], ["unlabelled", "unlabelled"], ["labelled", "labelled"], ...summary.labels.map((name) => [name, name])]);
    $("undo").addEventListener("click", undo);
    $("blind").addEventListener("click", hideScores);
    addEventListener("keydown", byKey);
  }
  const first = summary.columns[0];
  if (first) $("where").placeholder = `${column(first.name)} >= ${Number(((first.low + first.high) / 2).toPrecision(3))}`;
  if (!summary.pool) form.elements.q.disabled = true;
  $("where").title = `Columns: ${summary.expression.join(", ")}`;
  readAddress();
  form.addEventListener("submit", (event) => { event.preventDefault(); turnTo(0); });
  for (const name of ["fate", "sort", "order", "label"]) form.elements[name].addEventListener("change", () => turnTo(0));
  $("previous").addEventListener("click", () => turnTo(page - 1));
  $("next").addEventListener("click", () => sending.then(forward));
  addEventListener("popstate", () => { form.reset(); readAddress(); show(); });
  await show();
}

start();

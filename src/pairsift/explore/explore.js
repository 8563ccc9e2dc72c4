"use strict";
/* Text out of the data enters the page through textContent and attributes only. */
const $ = (id) => document.getElementById(id);
const format = (n) => n.toLocaleString("en-US");
const form = $("filter");
const FIELDS = ["q", "where", "fate", "sort", "order"];
const PAGE = 24;
let summary, page = 0, total = 0, asked = 0;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

async function get(path) {
  const response = await fetch(path);
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
  const box = element("div", { class: "photo" });
  if (row.status === "ok") {
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
  if (text === null) return element("p", { ...attributes, class: "caption none" }, "caption not read yet");
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
  const size = row.width ? ` · ${row.width}×${row.height}` : "";
  const open = element("button", { type: "button", "aria-label": `Details of ${row.key}` }, photo);
  open.addEventListener("click", () => detail(row));
  return element("li", { class: "card" }, open, caption(row.caption, { class: "caption" }), scores,
    element("p", { class: "key" }, element("bdi", {}, row.shard), " / ", element("bdi", {}, row.key), size), ...copies);
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
    $("cards").replaceChildren(...found.rows.map(card));
    $("problem").hidden = true;
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
  $("where").title = `Columns: ${summary.expression.join(", ")}`;
  readAddress();
  form.addEventListener("submit", (event) => { event.preventDefault(); turnTo(0); });
  for (const name of ["fate", "sort", "order"]) form.elements[name].addEventListener("change", () => turnTo(0));
  $("previous").addEventListener("click", () => turnTo(page - 1));
  $("next").addEventListener("click", () => turnTo(page + 1));
  addEventListener("popstate", () => { form.reset(); readAddress(); show(); });
  await show();
}

start();

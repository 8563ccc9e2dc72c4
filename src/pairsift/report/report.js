"use strict";
/* Without this script the page is complete; with it, the sliders try other cuts on joint counts. */
(async () => {
  const island = document.getElementById("cube");
  if (!island || typeof DecompressionStream === "undefined") return;
  const { columns, split, cells, packed, start, whatif } = JSON.parse(island.textContent);

  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(plain).arrayBuffer();
  const steps = columns.map((_, i) => new Uint8Array(buffer, i * cells, cells));
  const counts = new Uint32Array(buffer.slice(columns.length * cells));
  const total = counts.reduce((sum, n) => sum + n, 0);

  const NONE = 255;
  const barOf = (i, step) => (step === 0 ? NONE : Math.min(Math.floor((step - 1) / split), columns[i].bars - 1));
  const barsOf = steps.map((list, i) => list.map((step) => barOf(i, step)));
  const edge = (i, step) => Number((columns[i].low + (step * columns[i].width) / split).toFixed(12));
  const figures = columns.map((_, i) => document.querySelector(`.chart[data-column="${i}"]`));
  const bars = figures.map((figure) =>
    Array.from(figure.querySelectorAll("rect.kept"), (kept) => {
      const all = kept.previousElementSibling;
      const title = kept.parentNode.querySelector("title");
      return { kept, title, y: kept.getAttribute("y"), height: kept.getAttribute("height"), text: title.textContent,
        label: title.textContent.split(": ")[0], fullY: Number(all.getAttribute("y")), full: Number(all.getAttribute("height")) };
    }));
  const totals = columns.map((c, i) => {
    const sums = new Float64Array(c.bars);
    for (let cell = 0; cell < cells; cell++) {
      const bar = barsOf[i][cell];
      if (bar !== NONE) sums[bar] += counts[cell];
    }
    return sums;
  });
  const joints = Array.from(document.querySelectorAll("svg[data-across]"), (svg) => {
    const joint = { across: Number(svg.dataset.across), up: Number(svg.dataset.up) };
    joint.cells = Array.from(svg.querySelectorAll("rect[data-p]"), (rect) => {
      const title = rect.querySelector("title");
      return { rect, title, place: Number(rect.dataset.p), shade: rect.getAttribute("class"), text: title.textContent,
        label: title.textContent.split(": ")[0] };
    });
    joint.totals = jointCounts(joint, null);
    return joint;
  });

  /* Rows per cell of a joint plot; of those that pass, if `passes` tells which do. */
  function jointCounts({ across, up }, passes) {
    const sums = new Float64Array(columns[across].bars * columns[up].bars);
    const [a, b, height] = [barsOf[across], barsOf[up], columns[up].bars];
    for (let cell = 0; cell < cells; cell++)
      if (a[cell] !== NONE && b[cell] !== NONE && (!passes || passes[cell])) sums[a[cell] * height + b[cell]] += counts[cell];
    return sums;
  }

  const cuts = start.slice();
  const panel = document.querySelector(".whatif");
  const inputs = Array.from(document.querySelectorAll(".slider input"));
  const { format } = new Intl.NumberFormat("en-US"); // toLocaleString makes a new one each time

  /* One pass over the cells; a cell passes if it reaches every cut: edge k needs step > k. */
  function recount() {
    const active = columns.map((_, i) => i).filter((i) => cuts[i] > 0);
    const sums = columns.map((c) => new Float64Array(c.bars));
    const passes = new Uint8Array(cells);
    let kept = 0;
    next: for (let cell = 0; cell < cells; cell++) {
      for (const i of active) if (steps[i][cell] <= cuts[i]) continue next;
      passes[cell] = 1;
      kept += counts[cell];
      for (let i = 0; i < columns.length; i++) if (barsOf[i][cell] !== NONE) sums[i][barsOf[i][cell]] += counts[cell];
    }
    return { kept, sums, active, passes };
  }

  /* Counts and bars answer at once; the joint plots, ten times the work, once the hand rests. */
  let later = 0;
  function showJoints(passes) {
    for (const joint of joints) {
      const inside = passes && jointCounts(joint, passes);
      for (const { rect, title, place, shade, text, label } of joint.cells) {
        const all = joint.totals[place];
        rect.setAttribute("class", inside ? `s${Math.round((4 * inside[place]) / all)}` : shade);
        title.textContent = inside ? `${label}: ${format(all)}, ${format(inside[place])} would be kept` : text;
      }
    }
  }

  function show() {
    const { kept, sums, active, passes } = recount();
    const trying = cuts.some((cut, i) => cut !== start[i]);
    panel.hidden = !trying;
    inputs.forEach((input) => {
      const i = Number(input.dataset.column);
      const words = cuts[i] > 0 ? `${columns[i].name} ≥ ${edge(i, cuts[i])}` : `any ${columns[i].name}`;
      input.setAttribute("aria-valuetext", words);
      const output = input.parentNode.querySelector("output");
      output.textContent = words;
      output.classList.toggle("on", cuts[i] > 0);
    });
    bars.forEach((list, i) => list.forEach((bar, b) => {
      if (!trying) {
        bar.kept.setAttribute("y", bar.y);
        bar.kept.setAttribute("height", bar.height);
        bar.title.textContent = bar.text;
        return;
      }
      const share = totals[i][b] ? sums[i][b] / totals[i][b] : 0;
      bar.kept.setAttribute("height", bar.full * share);
      bar.kept.setAttribute("y", bar.fullY + bar.full * (1 - share));
      bar.title.textContent = `${bar.label}: ${format(sums[i][b])} would be kept, ${format(totals[i][b] - sums[i][b])} dropped`;
    }));
    clearTimeout(later);
    later = setTimeout(() => showJoints(trying ? passes : null), 80);
    const where = active.map((i) => `${columns[i].name} >= ${edge(i, cuts[i])}`).join(" and ");
    document.getElementById("whatif-count").textContent = `${format(kept)} pairs would be kept`;
    document.getElementById("whatif-share").textContent =
      `(${((100 * kept) / Math.max(total, 1)).toFixed(1)}% of the ${format(total)} scored; ${whatif})`;
    document.getElementById("whatif-where").textContent = where ? `--where "${where}"` : "no condition";
  }

  inputs.forEach((input) => {
    input.addEventListener("input", () => {
      cuts[Number(input.dataset.column)] = Number(input.value);
      show();
    });
    input.parentNode.hidden = false;
  });
  document.getElementById("whatif-reset").addEventListener("click", () => {
    start.forEach((cut, i) => { cuts[i] = cut; });
    inputs.forEach((input) => { input.value = cuts[Number(input.dataset.column)]; });
    show();
    inputs[0].focus();
  });
  document.querySelectorAll(".try").forEach((hint) => { hint.hidden = false; });
  show();
  document.documentElement.dataset.ready = "yes";
})();

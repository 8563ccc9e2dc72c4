"use strict";
/* Without this script the page is complete; with it, the sliders try other cuts on joint counts.
   Sliders move in fine steps. Joint counts of all columns (the cube) may be coarser, by whole bars;
   then one or two sliders are counted exactly on tables of two columns each, and with more of them
   a cut inside a bar is estimated, and its bounds told. */
(async () => {
  const island = document.getElementById("cube");
  if (!island || typeof DecompressionStream === "undefined") return;
  const { columns, split, fine, cells, packed, pairs, start, whatif } = JSON.parse(island.textContent);
  const merged = fine / split;

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(plain).arrayBuffer();
  }

  const buffer = await unpack(packed);
  const steps = columns.map((_, i) => new Uint8Array(buffer, i * cells, cells));
  const counts = new Uint32Array(buffer.slice(columns.length * cells));
  const total = counts.reduce((sum, n) => sum + n, 0);

  const NONE = 255;
  const barOf = (i, step) => (step === 0 ? NONE : Math.min(Math.floor((step - 1) / split), columns[i].bars - 1));
  const barsOf = steps.map((list, i) => list.map((step) => barOf(i, step)));
  const edge = (i, step) => Number((columns[i].low + (step * columns[i].width) / fine).toFixed(12));
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

  /* Rows per cell of a joint plot, weighted by `passes` (the share of each cell that passes). */
  function jointCounts({ across, up }, passes) {
    const sums = new Float64Array(columns[across].bars * columns[up].bars);
    const [a, b, height] = [barsOf[across], barsOf[up], columns[up].bars];
    for (let cell = 0; cell < cells; cell++)
      if (a[cell] !== NONE && b[cell] !== NONE) sums[a[cell] * height + b[cell]] += counts[cell] * (passes ? passes[cell] : 1);
    return sums;
  }

  /* Tables of two columns: rows by the fine step that each reaches, 0 for no value. */
  const sizes = columns.map((c) => c.bars * fine + 2);
  const tables = columns.map(() => []);
  if (pairs) {
    const flat = await unpack(pairs);
    let offset = 0;
    for (let i = 0; i < columns.length; i++) for (let j = i + 1; j < columns.length; j++) {
      tables[i][j] = new Uint32Array(flat, offset, sizes[i] * sizes[j]);
      offset += 4 * sizes[i] * sizes[j];
    }
  }
  const marginals = pairs && columns.map((_, i) => {
    const sums = new Float64Array(sizes[i]);
    eachPair(i, i ? 0 : 1, (step, _other, n) => { sums[step] += n; });
    return sums;
  });

  function eachPair(i, j, visit) {
    const [a, b] = i < j ? [i, j] : [j, i];
    const table = tables[a][b];
    for (let x = 0, place = 0; x < sizes[a]; x++) for (let y = 0; y < sizes[b]; y++, place++)
      if (table[place]) i < j ? visit(x, y, table[place]) : visit(y, x, table[place]);
  }

  /* For each of a column's coarse steps the share of its rows that reaches the cut. */
  function sharesOf(i, cut) {
    const shares = new Float64Array(columns[i].bars * split + 2);
    for (let step = 1; step < shares.length; step++) {
      const [first, last] = [(step - 1) * merged + 1, step * merged];
      if (first > cut) shares[step] = 1;
      else if (last > cut) {
        let [above, all] = [0, 0];
        for (let f = first; f <= Math.min(last, sizes[i] - 1); f++) {
          all += marginals[i][f];
          if (f > cut) above += marginals[i][f];
        }
        shares[step] = all ? above / all : 0;
      }
    }
    return shares;
  }

  const cuts = start.slice();
  const panel = document.querySelector(".whatif");
  const inputs = Array.from(document.querySelectorAll(".slider input"));
  const { format } = new Intl.NumberFormat("en-US"); // toLocaleString makes a new one each time
  const whole = (number) => format(Math.round(number));

  /* One pass over the cells; a row passes if it reaches every cut: edge k needs step > k. */
  function recount(cuts) {
    const active = columns.map((_, i) => i).filter((i) => cuts[i] > 0);
    const shares = active.map((i) => sharesOf(i, cuts[i]));
    const lists = active.map((i) => steps[i]);
    const sums = columns.map((c) => new Float64Array(c.bars));
    const passes = new Float32Array(cells);
    let [kept, least, most] = [0, 0, 0];
    next: for (let cell = 0; cell < cells; cell++) {
      let share = 1;
      for (let k = 0; k < shares.length; k++) {
        share *= shares[k][lists[k][cell]];
        if (share === 0) continue next;
      }
      const n = counts[cell];
      passes[cell] = share;
      kept += n * share;
      most += n;
      if (share === 1) least += n;
      for (let i = 0; i < sums.length; i++) if (barsOf[i][cell] !== NONE) sums[i][barsOf[i][cell]] += n * share;
    }
    const inside = active.some((i) => cuts[i] % merged);
    const exact = columns.map(() => !inside);
    if (inside && active.length <= 2) {
      const [i, j] = active.length === 2 ? active : [active[0], active[0] ? 0 : 1];
      kept = least = most = 0;
      eachPair(i, j, (x, y, n) => { if (x > cuts[i] && (!cuts[j] || y > cuts[j])) kept += n; });
      least = most = kept;
      // A bar needs one more column: exact if two columns are enough.
      columns.forEach((_, c) => {
        const [a, b] = active.includes(c) ? [i, j] : [i, c];
        if (active.length === 2 && !active.includes(c)) return;
        sums[c].fill(0);
        eachPair(a, b, (x, y, n) => {
          if (x <= cuts[a] || (cuts[b] && y <= cuts[b])) return;
          const step = c === a ? x : y;
          if (step) sums[c][Math.min(Math.floor((step - 1) / fine), columns[c].bars - 1)] += n;
        });
        exact[c] = true;
      });
    }
    return { kept, least, most, sums, active, passes, exact, inside };
  }

  /* Counts and bars answer at once; the joint plots, ten times the work, once the hand rests. */
  let later = 0;
  function showJoints(passes, about) {
    for (const joint of joints) {
      const inside = passes && jointCounts(joint, passes);
      for (const { rect, title, place, shade, text, label } of joint.cells) {
        const all = joint.totals[place];
        rect.setAttribute("class", inside ? `s${Math.round((4 * inside[place]) / all)}` : shade);
        title.textContent = inside ? `${label}: ${format(all)}, ${about}${whole(inside[place])} would be kept` : text;
      }
    }
  }

  function show() {
    const { kept, least, most, sums, active, passes, exact, inside } = recount(cuts);
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
      const [about, n] = [exact[i] ? "" : "about ", Math.round(sums[i][b])];
      bar.title.textContent = `${bar.label}: ${about}${format(n)} would be kept, ${about}${format(totals[i][b] - n)} dropped`;
    }));
    clearTimeout(later);
    later = setTimeout(() => showJoints(trying ? passes : null, inside ? "about " : ""), 80);
    const where = active.map((i) => `${columns[i].name} >= ${edge(i, cuts[i])}`).join(" and ");
    const bounds = least < most ? `between ${format(least)} and ${format(most)}; ` : "";
    document.getElementById("whatif-count").textContent = `${bounds ? "about " : ""}${whole(kept)} pairs would be kept`;
    document.getElementById("whatif-share").textContent =
      `(${bounds}${((100 * kept) / Math.max(total, 1)).toFixed(1)}% of the ${format(total)} scored; ${whatif})`;
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
  // Run the loops once, so that they are compiled before the first move.
  for (let k = 0; k < 3; k++) recount(columns.map((_, i) => (i < 2 ? merged * (k + 1) : 0)));
  document.documentElement.dataset.ready = "yes";
})();

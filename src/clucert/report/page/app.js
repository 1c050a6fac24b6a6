"use strict";
// The table of inputs. All data reaches the screen through text nodes: nothing here parses markup.
(() => {
  const PAGE = 50;
  const EXCERPT = 160;
  const LETTERS = { r: "refined away", p: "protected", a: "attackable", "-": "nothing is put in its place" };
  // Invisible, direction-changing or unpaired: shown by code point, so that no text can hide or reorder what is read.
  const CONTROL =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;

  const { runs, kinds, published } = JSON.parse(document.getElementById("data").textContent);
  const NAMES = Object.fromEntries(kinds.map((kind) => [kind.key, kind.name]));
  const $ = (id) => document.getElementById(id);
  const state = { run: 0, query: "", show: "", key: null, down: false, page: 0, open: null };

  const COLUMNS = [
    { key: "id", name: "Input", kind: "id", of: (row) => row.id },
    { key: "text", name: "Text", kind: "text", of: (row) => textOf(row) },
    { key: "gold", name: "Gold", kind: "label", of: (row) => row.gold },
    { key: "answer", name: "Answer", kind: "label", of: (row) => row.answer },
    { key: "state", name: "Result", kind: "result", of: (row) => row.state },
    ...(published ? [{ key: "radius", name: "Radius", kind: "number", of: (row) => words(row.radius), from: (row) => row.radius }] : []),
    ...kinds.map(({ key, name }) => ({ key, name, kind: "number", of: (row) => words(proof(row, key)), from: (row) => proof(row, key) })),
    { key: "calls", name: "Calls", kind: "number", of: (row) => (row.cost ? row.cost.calls : null) },
  ];

  const words = (radius) => (radius ? radius.words : null);
  const proof = (row, kind) => row.proved && row.proved[kind];
  // Green is for what is proved; a published radius that rests on assumptions is a claim.
  function standing(column, row) {
    const radius = column.from && column.from(row);
    // Of a wrong answer a radius certifies a mistake.
    if (!radius || row.state === "wrong" || !(radius.words > 0 || radius.short === "any")) return "";
    return column.key === "radius" && row.assumes && row.assumes.length ? " claim" : " held";
  }
  const textOf = (row) => (row.parts ? row.parts.join("") : "");
  const labelled = (label) => (label === null || label === undefined ? "–" : label);

  // An element with children; strings become text nodes.
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  }

  // Text with its control characters named, isolated from the direction of what stands around it.
  function shown(text) {
    const whole = make("bdi");
    let end = 0;
    for (const match of String(text).matchAll(CONTROL)) {
      whole.append(document.createTextNode(text.slice(end, match.index)));
      const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      whole.append(make("span", { class: "control" }, "U+" + code));
      end = match.index + match[0].length;
    }
    whole.append(document.createTextNode(text.slice(end)));
    return whole;
  }

  function excerpt(text) {
    const points = Array.from(text.slice(0, 2 * EXCERPT));
    return points.length > EXCERPT ? points.slice(0, EXCERPT).join("") + "…" : points.join("");
  }

  // Rows that pass the search and the filter, in the order asked for; empty values always last.
  function selected() {
    const { query, show, key, down } = state;
    const rows = runs[state.run].inputs.filter((row) => (!show || row.state === show) && (!query || haystack(row).includes(query)));
    if (key === null) return rows;
    const of = COLUMNS.find((column) => column.key === key).of;
    const sign = down ? -1 : 1;
    return rows
      .map((row, place) => [of(row), place, row])
      .sort(([a, i], [b, j]) => {
        const empty = (a === null || a === undefined) - (b === null || b === undefined);
        return empty || sign * compare(a, b) || i - j;
      })
      .map(([, , row]) => row);
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a ?? "").localeCompare(String(b ?? ""), "en", { numeric: true });
  }

  const haystacks = new WeakMap();
  function haystack(row) {
    if (!haystacks.has(row)) {
      haystacks.set(row, [row.id, row.gold, row.answer, textOf(row), row.error].filter(Boolean).join("\n").toLowerCase());
    }
    return haystacks.get(row);
  }

  const body = make("tbody");
  const heads = COLUMNS.map((column) => {
    const button = make("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      const again = state.key === column.key;
      // A first click puts the largest numbers and the first letters on top.
      Object.assign(state, { key: column.key, down: again ? !state.down : column.kind === "number", page: 0, open: null });
      draw();
    });
    return make("th", { scope: "col", class: column.kind, "aria-sort": "none", role: "columnheader" }, button);
  });
  // The roles are spelled out because phones lay the table out as blocks, which would take them away.
  const table = make(
    "table",
    { role: "table", "aria-labelledby": "inputs-title" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, heads)),
    body,
  );
  body.setAttribute("role", "rowgroup");

  function draw() {
    const rows = selected();
    const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
    state.page = Math.min(state.page, last);
    const from = state.page * PAGE;
    heads.forEach((head, i) => {
      head.setAttribute("aria-sort", COLUMNS[i].key !== state.key ? "none" : state.down ? "descending" : "ascending");
    });
    body.replaceChildren(...rows.slice(from, from + PAGE).flatMap(line));
    if (!rows.length) body.append(make("tr", { role: "row" }, make("td", { colspan: COLUMNS.length, class: "text", role: "cell" }, "No input matches.")));
    const to = Math.min(from + PAGE, rows.length);
    const all = runs[state.run].inputs.length;
    $("place").textContent = `${rows.length ? from + 1 : 0}–${to} of ${rows.length}` + (rows.length < all ? ` (${all} in the run)` : "");
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page === last;
  }

  function line(row) {
    const open = state.open === row;
    const button = make("button", { type: "button", class: "open", "aria-expanded": String(open) }, shown(excerpt(row.parts ? textOf(row) : row.error || "")));
    const cells = COLUMNS.map((column) => {
      const value = column.of(row);
      let content;
      if (column.key === "text") content = button;
      else if (column.key === "state") content = make("span", { class: "state " + row.state }, row.state);
      else content = typeof value === "string" ? shown(value) : labelled(value ?? (column.from && (column.from(row) || {}).short));
      const label = column.key === "text" || column.key === "state" ? null : column.name;
      return make("td", { class: column.kind + standing(column, row), role: "cell", "data-label": label }, content);
    });
    const main = make("tr", { role: "row", class: "result " + row.state }, cells);
    button.addEventListener("click", () => toggle(row, main, button));
    return open ? [main, detail(row)] : [main];
  }

  function toggle(row, main, button) {
    const close = state.open === row;
    const before = body.querySelector("tr.detail");
    if (before) {
      before.previousSibling.querySelector("button.open").setAttribute("aria-expanded", "false");
      before.remove();
    }
    state.open = close ? null : row;
    button.setAttribute("aria-expanded", String(!close));
    if (!close) main.after(detail(row));
  }

  function detail(row) {
    const parts = row.parts ? [reading(row), make("div", { class: "pair" }, votes(row), radii(row)), samples(row)] : [];
    if (row.error) parts.push(make("p", { class: "note" }, make("strong", {}, "Failed: "), shown(row.error)));
    if (runs.length > 1) parts.push(elsewhere(row));
    return make("tr", { class: "detail", role: "row" }, make("td", { colspan: COLUMNS.length, role: "cell" }, parts));
  }

  // The text as it was given, each word marked by what the noise may do to it.
  function reading(row) {
    const paragraph = make("p", { class: "reading", dir: "auto" });
    const counts = {};
    row.parts.forEach((part, i) => {
      const letter = i % 2 ? row.marks[(i - 1) / 2] : undefined;
      if (letter !== undefined) counts[letter] = (counts[letter] || 0) + 1;
      if (letter === undefined || letter === "-") return paragraph.append(shown(part));
      const reason = letter === "p" ? row.reasons[(i - 1) / 2] : null;
      const word = make("span", { class: "word-" + letter, title: reason ? "protected: " + reason : LETTERS[letter] }, shown(part));
      if (reason) word.append(make("small", {}, reason));
      return paragraph.append(word);
    });
    const legend = Object.entries(counts).sort().reverse().map(([letter, count]) => make("li", {}, make("span", { class: "word-" + letter }, LETTERS[letter]), `${count}`));
    const parts = [make("h4", {}, "Text"), paragraph, make("ul", { class: "legend" }, legend)];
    if (row.refined !== null) parts.push(make("p", { class: "note" }, make("strong", {}, "Refined to: "), shown(row.refined)));
    for (const note of row.notes) parts.push(make("p", { class: "note" }, make("strong", {}, "Note: "), shown(note)));
    return make("div", {}, parts);
  }

  const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1) + "%");

  function votes(row) {
    const bound = (side, value) => (value === null ? "–" : `${side === "low" ? "≥" : "≤"} ${percent(value)}`);
    const lines = row.votes.map(([label, first, second, share, side, value]) => [shown(label), first, second, percent(share), bound(side, value)]);
    if (row.unparsed[0] || row.unparsed[1]) lines.push(["named no label", ...row.unparsed, "", ""]);
    if (row.dropped[0] || row.dropped[1]) lines.push(["dropped", ...row.dropped, "", ""]);
    if (row.s === null) return make("div", {}, make("h4", {}, "Votes"), grid(["Answer", `Sub-texts (${row.drawn[1]})`, "Share"], lines.map((line) => [line[0], line[2], line[3]])));
    return make("div", {}, make("h4", {}, "Votes"), grid(["Answer", `Select (${row.drawn[0]})`, `Certify (${row.drawn[1]})`, "Share", "Bound"], lines));
  }

  function grid(names, lines) {
    const head = make("tr", {}, names.map((name) => make("th", { scope: "col" }, name)));
    const rows = lines.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), rest.map((value) => make("td", {}, value))));
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": names.join(", ") }, make("table", {}, make("thead", {}, head), make("tbody", {}, rows)));
  }

  function radii(row) {
    const pairs = [];
    const add = (name, value) => pairs.push(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    if (row.why) add("Abstained", shown(row.why));
    if (published) add(row.assumes.length ? `Published, assuming ${row.assumes.join(", ")}` : "Published", row.radius ? row.radius.text : "none");
    for (const [threat, radius] of Object.entries(row.proved)) add(NAMES[threat] || threat, radius ? radius.text : "none");
    add("Counted over", `the ${row.domain} text, ${row.n} ${row.unit}` + (row.s === null ? "" : `, ${row.s} retained per sample`));
    add("Confidence", percent(row.confidence));
    if (row.cost) {
      const { calls, input, cached, output, seconds } = row.cost;
      add("Cost", `${calls} calls, ${input} tokens in (${cached} cached), ${output} out, ${seconds} s`);
    }
    return make("div", { class: "radius" }, make("h4", {}, "Radii"), make("dl", {}, pairs));
  }

  function samples(row) {
    if (row.cut) return make("p", { class: "note" }, "Noised texts are left out of this file to keep it small; records.jsonl has them.");
    const all = row.samples || [];
    if (!all.length) return make("p", { class: "note quiet" }, "No noised texts were stored for this input (--show-samples).");
    const list = (kept, name) => {
      const rows = all.filter((sample) => sample[2] === kept);
      if (!rows.length) return null;
      const items = rows.map(([text, vote]) => make("li", {}, shown(text), make("span", { class: "vote" }, kept ? (vote === null ? "named no label" : shown(vote)) : null)));
      return make("div", {}, make("h4", {}, name), make("ul", { class: "samples" }, items));
    };
    const flipped = all.filter((sample) => sample[2] === 1 && sample[1] !== row.answer && row.parts);
    const parts = [make("div", { class: "pair" }, list(1, row.retained ? "What the noise left standing, and the votes (… was hidden or replaced; --show-samples keeps the texts)" : "Noised texts that were kept, and their votes"), list(0, "Noised texts that were dropped"))];
    if (flipped.length) {
      const pairs = flipped.map(([text, vote]) =>
        make("div", { class: "flip" }, beside(row, text), make("div", {}, shown(text), make("span", { class: "vote" }, vote === null ? "named no label" : shown(vote)))),
      );
      parts.unshift(make("div", {}, make("h4", {}, row.retained ? "What stood where the vote flipped, beside the text" : "Noised texts that flipped, beside the text"), pairs));
    }
    return make("div", {}, parts);
  }

  // The text with each word struck out that a noised text has not: words are taken in order, each once.
  function beside(row, noised) {
    const left = noised.split(/\s+/);
    const whole = make("div", {});
    const source = row.refined !== null ? row.refined : textOf(row);
    for (const piece of source.split(/(\s+)/)) {
      const place = left.findIndex((word) => word === piece || (word.length > 2 && piece.includes(word)));
      if (!piece.trim() || place >= 0) {
        if (place >= 0) left.splice(0, place + 1);
        whole.append(shown(piece));
      } else whole.append(make("span", { class: "lost" }, shown(piece)));
    }
    return whole;
  }

  // Every chart as an SVG that stands by itself, every table as CSV.
  function save(name, type, content) {
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font", "font-weight"];
  function standalone(chart) {
    const copy = chart.cloneNode(true);
    const from = [chart, ...chart.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
      const style = getComputedStyle(from[i]);
      for (const name of DRAWN) element.style.setProperty(name, style.getPropertyValue(name));
      element.removeAttribute("class");
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const [, , width, height] = chart.getAttribute("viewBox").split(" ");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    return new XMLSerializer().serializeToString(copy);
  }
  // As in the tables that the command line writes: no spreadsheet runs a cell as a formula.
  const cell = (text) => {
    const plain = text.trim().replace(/\s+/g, " ");
    const inert = /^[=+\-@]/.test(plain) && !/^[+-]?\d[\d,.]*%?$/.test(plain) ? "'" + plain : plain;
    return '"' + inert.replaceAll('"', '""') + '"';
  };
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map((each) => cell(each.textContent)).join(",")).join("\r\n") + "\r\n";
  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "figure";
  function saver(what, name, act) {
    const button = make("button", { type: "button", class: "save", "aria-label": `Save ${what}: ${name}` }, `Save ${what}`);
    button.addEventListener("click", act);
    return button;
  }
  for (const figure of document.querySelectorAll("figure")) {
    const chart = figure.querySelector(".wide svg.chart");
    const name = (figure.querySelector("figcaption") || chart).textContent || chart.getAttribute("aria-label");
    figure.append(saver("SVG", name, () => save(slug(name) + ".svg", "image/svg+xml", standalone([...figure.querySelectorAll("svg.chart")].find((each) => each.getClientRects().length) || chart))));
  }
  for (const region of document.querySelectorAll(".scroll")) {
    const name = region.getAttribute("aria-label");
    region.after(saver("CSV", name, () => save(slug(name) + ".csv", "text/csv", csv(region.querySelector("table")))));
  }

  function elsewhere(row) {
    const radii = COLUMNS.filter((column) => column.kind === "number" && column.key !== "calls");
    const lines = runs.map((run) => {
      const same = run.inputs.find((other) => other.id === row.id && textOf(other) === textOf(row));
      if (!same) return [shown(run.name), "not in this run", "", ...radii.map(() => "")];
      return [shown(run.name), typeof same.answer === "string" ? shown(same.answer) : "–", same.state, ...radii.map((column) => labelled(column.of(same)))];
    });
    return make("div", {}, make("h4", {}, "This input in every run"), grid(["Run", "Answer", "Result", ...radii.map((column) => column.name)], lines));
  }

  function change(fields) {
    Object.assign(state, { page: 0, open: null }, fields);
    draw();
  }
  $("run").addEventListener("change", (event) => change({ run: Number(event.target.value) }));
  $("search").addEventListener("input", (event) => change({ query: event.target.value.trim().toLowerCase() }));
  $("state").addEventListener("change", (event) => change({ show: event.target.value }));
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("previous").addEventListener("click", () => change({ page: state.page - 1 }));
  $("next").addEventListener("click", () => change({ page: state.page + 1 }));
  $("table").append(table);
  draw();
})();

"use strict";
// The page is built from the data in #data. Text from a run reaches the document as
// text nodes and attributes only, never as markup.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const run = page.run, old = page.old, lab = page.lab;
  const pageRows = 100;

  // --- small parts -------------------------------------------------------------

  // h makes an element: attributes that begin with "on" are listeners.
  function h(name, attrs, ...kids) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attrs || {})) {
      if (v == null || v === false) continue;
      if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
      else e.setAttribute(k, v === true ? "" : v);
    }
    e.append(...kids.flat(Infinity).filter(k => k != null && k !== false).map(k => typeof k === "number" ? String(k) : k));
    return e;
  }

  const count = n => Math.round(n).toLocaleString("en-US");
  const counted = (n, thing) => count(n) + " " + thing + (n === 1 ? "" : "s");
  const signed = (v, show) => (v > 0 ? "+" : v < 0 ? "−" : "") + show(Math.abs(v));

  function bytes(n) {
    if (n == null) return "–";
    if (Math.abs(n) < 1024) return Math.round(n) + " B";
    let u = -1;
    do { n /= 1024; u++; } while (Math.abs(n) >= 1023.5 && u < 5);
    return (Math.abs(n) < 9.95 ? n.toFixed(1) : n.toFixed(0)) + " " + "KMGTPE"[u] + "iB";
  }

  function time(s) {
    if (s == null) return "–";
    if (s < 0) return "−" + time(-s);
    if (s === 0) return "0 s";
    if (s < 0.001) return "< 1 ms";
    if (s < 0.9995) return Math.round(s * 1000) + " ms";
    if (s < 9.95) return s.toFixed(1) + " s";
    const two = (a, x, b, y) => b ? `${a} ${x} ${b} ${y}` : `${a} ${x}`;
    s = Math.round(s);
    if (s < 60) return s + " s";
    if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
    const m = Math.round(s / 60);
    if (m < 1440) return two(Math.floor(m / 60), "h", m % 60, "min");
    const hours = Math.round(m / 60);
    return two(Math.floor(hours / 24), "d", hours % 24, "h");
  }

  const short = d => (d || "").replace(/^[^:]*:/, "").slice(0, 12);
  const value = (unit, v) => v == null ? "–" : unit === "bytes" ? bytes(v) : unit === "seconds" ? time(v) : v.toLocaleString("en-US", {maximumFractionDigits: 3});
  const quiet = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // section has a title, and a short one for the way to it.
  function section(id, title, brief) {
    const head = h("header", {}, h("h2", {id: id + "-h"}, title));
    return {head, body: h("section", {id, "data-brief": brief, "aria-labelledby": id + "-h"}, head)};
  }

  // stepText is a step's name, of which two lines are shown.
  const stepText = name => h("span", {class: "mono step", title: name.length > 150 ? name : null}, name);
  // prose marks what is between backquotes as code.
  const prose = t => t.split("`").map((x, i) => i % 2 ? h("code", {}, x) : x);

  // table renders rows under a head of [title, class] pairs; the first cell heads its row.
  function table(caption, head, rows) {
    return h("div", {class: "scroll"}, h("table", {},
      caption && h("caption", {}, caption),
      h("thead", {}, h("tr", {}, head.map(([t, c]) => h("th", {scope: "col", class: c}, t)))),
      h("tbody", {}, rows.map(r => h("tr", {}, r.map((v, i) => h(i ? "td" : "th", {scope: i ? null : "row", class: head[i][1]}, v)))))));
  }

  const svgNS = "http://www.w3.org/2000/svg";
  function figure(label, draw) {
    const svg = document.createElementNS(svgNS, "svg");
    const f = h("figure", {"aria-label": label});
    f.style.margin = 0;
    f.append(svg);
    let width = 0;
    const again = () => { if (width > 0) draw(d3.select(svg), width); };
    new ResizeObserver(() => { if (f.clientWidth !== width) { width = f.clientWidth; again(); } }).observe(f);
    return {f, svg, again};
  }

  const tip = h("div", {id: "tip", hidden: true, "aria-hidden": "true"});
  function say(ev, text) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const w = tip.offsetWidth, x = Math.min(ev.clientX + 14, innerWidth - w - 8);
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = (ev.clientY + tip.offsetHeight + 24 > innerHeight ? ev.clientY - tip.offsetHeight - 10 : ev.clientY + 16) + "px";
  }
  const hush = () => say(null, "");

  // heat is the word for how much of an image was made: its temperature or, where
  // that is not known, its state.
  function heat(im) {
    if (im.state === "failed") return "failed";
    if (im.state === "skipped" || im.temperature === "skipped") return "skipped";
    if (im.state !== "published") return "pending";
    return ["cold", "partial", "warm"].includes(im.temperature) ? im.temperature : "made";
  }
  const heats = [["cold", "cold: every step ran"], ["partial", "partial: some steps ran"], ["warm", "warm: no step ran"], ["made", "made, temperature not stated"], ["skipped", "skipped: in place"], ["failed", "failed"], ["pending", "not done"]];
  const badge = w => h("span", {class: "tag c-" + w}, h("i", {class: "dot", "aria-hidden": "true"}), w === "made" ? "made" : w === "pending" ? "not done" : w);

  // --- what happened -----------------------------------------------------------

  function headline(s) {
    const there = s.built + s.skipped + s.retagged;
    let t = s.observed ? `${counted(s.built, "build")} ended well` : there === s.images ? (s.images === 1 ? "The image is in place" : `All ${counted(s.images, "image")} are in place`) : `${count(there)} of ${counted(s.images, "image")} are in place`;
    if (s.failed) t += `; ${count(s.failed)} failed`;
    if (s.pending) t += `; ${count(s.pending)} not done`;
    return t + ".";
  }

  function overview() {
    const s = run.summary, o = old && old.summary;
    const fig = (name, v, show, note, key) => {
      const was = o && key ? key(o) : null, d = was != null && v != null ? v - was : null;
      return h("div", {}, h("dt", {}, name), h("dd", {}, v == null ? "–" : show(v),
        d != null && h("span", {class: "note " + (d > 0 ? "up" : d < 0 ? "down" : "")}, d ? signed(d, show) + ", before " + show(was) : "as before"),
        note && h("span", {class: "note"}, note)));
    };
    const moved = x => x.bytesPulled == null && x.bytesPushed == null ? null : (x.bytesPulled || 0) + (x.bytesPushed || 0);
    const asked = x => x.requests ? Object.values(x.requests).reduce((a, b) => a + b, 0) : null;
    const parts = [s.built && counted(s.built, "made image").replace("made images", "made").replace("made image", "made"), s.skipped && count(s.skipped) + " skipped", s.retagged && count(s.retagged) + " retagged"].filter(Boolean);
    const when = s.started ? new Date(s.started).toISOString().replace("T", " ").slice(0, 16) + " UTC" : "";
    return h("div", {id: "overview"},
      h("h1", {}, headline(s)),
      h("p", {class: "soft"}, [run.fleet, "run " + run.id, when, s.exit == null ? "did not end by itself" : s.exit ? "exit code " + s.exit : null, s.starts > 1 ? "started " + s.starts + " times" : null].filter(Boolean).join(" · ")),
      s.cause && h("p", {}, "It ended with: ", h("span", {class: "mono"}, s.cause)),
      old && h("p", {class: "soft"}, "Compared with run " + old.id + (old.summary.started ? " of " + new Date(old.summary.started).toISOString().replace("T", " ").slice(0, 16) + " UTC" : "") + "."),
      h("dl", {class: "figures"},
        fig("Images", s.images, count, parts.join(", ")),
        fig("Wall time", s.wallSeconds, time, null, x => x.wallSeconds),
        fig("Steps run", s.stepsExecuted, count, s.stepsCached != null ? count(s.stepsCached) + " cached" + (s.stepsDistinct ? ", " + count(s.stepsDistinct) + " distinct" : "") : null, x => x.stepsExecuted),
        fig("Rework", s.rework, v => v.toFixed(2), "1 is each step once", x => x.rework),
        fig("Disk at most", s.diskPeakBytes, bytes, s.diskBudgetBytes ? "of " + bytes(s.diskBudgetBytes) + " allowed" : null, x => x.diskPeakBytes),
        fig("Given back", s.releasedBytes, bytes, s.releaseSeconds != null ? "in " + time(s.releaseSeconds) : null, x => x.releasedBytes),
        fig("Moved", moved(s), bytes, s.bytesMounted ? bytes(s.bytesMounted) + " mounted instead" : null, moved),
        fig("Requests", asked(s), count, s.retries ? count(s.retries) + " sent again" : null, asked)));
  }

  function decisions() {
    const s = run.summary, sec = section("why", "What was done, and why", "Decisions");
    if (run.reasons && run.reasons.length) sec.body.append(table("", [["Action"], ["Images", "num"], ["Because"], ["", "wide"]],
      run.reasons.map(r => [r.action, count(r.images), prose(r.meaning || r.code), h("code", {class: "soft"}, r.code)])));
    else sec.body.append(h("p", {class: "soft"}, s.imported ? `These builds are another program's, as its manifest ${s.imported} tells of them. Nothing attests it; steps, cache, disk and bytes are not known.` : s.observed ? "These builds are another program's; nobody planned them." : "The run kept no plan."));
    for (const f of s.failures || []) {
      sec.body.append(h("div", {class: "problem"},
        h("strong", {}, `${counted(f.images.length, "image")} failed` + (f.step ? " in " + f.step : "")), h("p", {class: "mono"}, f.cause), f.help && h("p", {}, f.help),
        h("p", {class: "small"}, f.images.slice(0, 12).map((id, i) => [i ? ", " : "", link(id)]), f.images.length > 12 ? ` and ${count(f.images.length - 12)} more` : ""),
        f.log && h("details", {}, h("summary", {}, "Output"), h("pre", {tabindex: 0}, f.log))));
    }
    const notes = s.notes || [];
    if (notes.length) sec.body.append(h("details", {open: notes.length < 4}, h("summary", {class: "soft small"}, counted(notes.length, "remark")), h("ul", {class: "small"}, notes.map(n => h("li", {}, (n.level === "warning" ? "Warning: " : "") + n.text)))));
    return sec.body;
  }

  const index = new Map(run ? run.images.map((im, i) => [im.id, i]) : []);
  const link = id => index.has(id) ? h("button", {type: "button", class: "link", onclick: () => openImage(index.get(id))}, id) : id;

  // --- difference and misses ---------------------------------------------------

  function difference() {
    const d = page.difference, sec = section("difference", "What makes the runs different", "Difference");
    if (d.notes.length) sec.body.append(h("ul", {class: "small soft"}, d.notes.map(n => h("li", {}, "Mind that " + n + "."))));
    const one = (name, s, show) => {
      if (!s) return h("div", {}, h("h3", {}, name), h("p", {class: "soft"}, "Not measured in both runs."));
      const parts = s.parts.slice(0, 12), rest = s.parts.slice(12);
      if (rest.length) parts.push({name: counted(rest.length, "smaller cause"), amount: d3.sum(rest, p => p.amount)});
      if (s.unexplained) parts.push({name: "unexplained", amount: s.unexplained});
      const most = d3.max(parts, p => Math.abs(p.amount)) || 1;
      const rows = parts.map(p => {
        const bar = h("i", {}), w = Math.abs(p.amount) / most * 50;
        bar.style.width = w + "%"; bar.style.left = (p.amount < 0 ? 50 - w : 50) + "%";
        const n = p.detail && (p.detail.oldCount || p.detail.newCount) ? `${count(p.detail.newCount)} × ${show(p.detail.newEach)}, before ${count(p.detail.oldCount)} × ${show(p.detail.oldEach)}` : "";
        return [[stepText(p.name), n && h("div", {class: "soft small"}, n)], signed(p.amount, show), h("span", {class: "track " + (p.amount > 0 ? "c-bad" : "c-made"), "aria-hidden": "true"}, bar)];
      });
      return h("div", {}, h("h3", {}, `${name}: ${show(s.new)}, before ${show(s.old)} (${signed(s.new - s.old, show)})`),
        rows.length ? table("", [["Cause"], ["Difference", "num"], ["", "wide"]], rows) : h("p", {class: "soft"}, "No difference."));
    };
    sec.body.append(h("div", {class: "split"}, one("Wall time", d.wall, time), h("div", {}, one("Disk at most", d.disk, bytes), one("Bytes moved", d.moved, bytes))));
    return sec.body;
  }

  function misses(report, more, id, title) {
    const sec = section(id, title, "Misses"), list = alike(report.misses);
    sec.head.append(h("span", {class: "soft small"}, `${counted(report.executed, "step")} ran, ${count(report.cached)} cached` + (report.against ? ", against run " + report.against : "; there is no earlier run to compare with")));
    const row = m => [[stepText(m.name), (m.causes || []).slice(0, 3).map(c => h("div", {class: "small"}, cause(c))), m.files && h("div", {class: "small soft mono"}, m.files.slice(0, 4).join(", ") + (m.files.length > 4 ? ` and ${m.files.length - 4} more` : "")),
      h("div", {class: "soft small"}, m.from && m.from.length ? "rests on " + m.from.join(", ") : (m.causes || []).length ? "" : m.detail)], m.why, count(m.executions), time(m.seconds), m.inheritedExecutions ? time(m.inheritedSeconds) : "–"];
    const show = n => table("", [["Step"], ["Why", "word"], ["Runs", "num"], ["Time", "num"], ["Inherited", "num wide"]], list.slice(0, n).map(row));
    let t = show(12);
    sec.body.append(t);
    if (list.length > 12) {
      const b = h("button", {type: "button", class: "btn", onclick: () => { t.replaceWith(t = show(list.length)); b.remove(); }}, `Show all ${count(list.length)}`);
      sec.body.append(h("p", {}, b));
    }
    if (more) sec.body.append(h("p", {class: "soft small"}, `${count(more)} more are left out; \`lapstrake explain\` lists them.`));
    return sec.body;
  }

  // alike puts steps together that have one name and missed for one reason: those of
  // images whose bases differ.
  function alike(list) {
    const out = new Map();
    for (const m of list) {
      const key = JSON.stringify([m.name, m.why, m.causes, m.from, (m.causes || m.from) ? "" : m.detail]), have = out.get(key);
      if (!have) { out.set(key, {...m}); continue; }
      for (const k of ["executions", "images", "seconds", "inheritedExecutions", "inheritedSeconds"]) have[k] += m[k];
    }
    return [...out.values()];
  }

  function cause(c) {
    const what = [c.kind, c.name].filter(Boolean).join(" ");
    const at = c.pos && c.pos.file ? ` (${c.pos.file}${c.pos.line ? ":" + c.pos.line : ""})` : "";
    const cut = s => (s = s && s.replace(/\bsha256:([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1")) && s.length > 120 ? s.slice(0, 118) + "…" : s;
    if (c.old && c.new) return `${what}: ${cut(c.old)} → ${cut(c.new)}${at}`;
    return `${what}${c.new ? ": " + cut(c.new) + " is new" : c.old ? ": " + cut(c.old) + " is gone" : " changed"}${at}`;
  }

  // --- over time ---------------------------------------------------------------

  const seen = {ok: ["published", "base", "an image in work"], shared: ["ready", "shared", "a shared step"], bad: ["failed", "bad", "failed, lost or tried again"]};
  const spanClass = s => s.shared && s.outcome === "ready" ? "shared" : s.outcome === "published" ? "base" : s.outcome === "interrupted" ? "other" : "bad";
  const spanName = s => s.image != null ? run.images[s.image].id : s.shared;

  function overTime() {
    const total = Math.max(run.summary.wallSeconds || 0, 0.001);
    let domain = [0, total];
    const sec = section("time", "Over time", "Time");
    const reset = h("button", {type: "button", class: "btn", disabled: true, onclick: () => zoom(0, total)}, "Whole run");
    sec.head.append(h("span", {class: "soft small grow noprint"}, "Drag to zoom; with the keyboard + − ← → and 0"), reset);
    const groups = [...new Set(run.spans.map(s => s.worker ?? -1))].sort((a, b) => a - b).map(w => {
      const spans = run.spans.filter(s => (s.worker ?? -1) === w);
      return {name: w < 0 ? "registry" : run.workers[w], lanes: d3.max(spans, s => s.lane) + 1, spans};
    });
    const lanes = d3.sum(groups, g => g.lanes), lane = lanes > 60 ? 4 : lanes > 24 ? 7 : 14;
    const work = d3.sum(groups, g => g.lanes * lane + 24), top = 6, disk = run.disks.length ? 150 : 0;
    const fig = figure("Images in work on each worker, and its disk, over time", draw);
    const live = h("p", {class: "vh", "aria-live": "polite"});
    fig.f.tabIndex = 0;
    fig.f.setAttribute("role", "group");
    fig.f.addEventListener("keydown", ev => {
      const w = domain[1] - domain[0], go = {"+": [w / 4, -w / 4], "=": [w / 4, -w / 4], "-": [-w / 2, w / 2], ArrowLeft: [-w / 4, -w / 4], ArrowRight: [w / 4, w / 4], "0": [-total, total]}[ev.key];
      if (!go || ev.ctrlKey || ev.metaKey) return;
      ev.preventDefault();
      zoom(domain[0] + go[0], domain[1] + go[1]);
    });
    function zoom(a, b) {
      const w = Math.min(total, Math.max(b - a, total / 5000));
      a = Math.max(0, Math.min(a, total - w));
      domain = [a, a + w];
      reset.disabled = w >= total;
      live.textContent = `From ${time(a)} to ${time(a + w)}`;
      fig.again();
    }

    function draw(svg, width) {
      const left = 52, right = 8, height = top + work + disk + 22;
      const x = d3.scaleLinear(domain, [left, width - right]);
      svg.attr("viewBox", `0 0 ${width} ${height}`).attr("height", height).selectAll("*").remove();
      const clip = svg.append("clipPath").attr("id", "plot").append("rect").attr("x", left).attr("y", 0).attr("width", Math.max(0, width - left - right)).attr("height", height);
      const plot = svg.append("g").attr("clip-path", "url(#plot)");
      plot.append("g").attr("class", "grid").attr("transform", `translate(0,${height - 20})`).call(d3.axisBottom(x).ticks(Math.max(2, width / 110)).tickSize(-(height - 20 - top)).tickFormat(""));
      for (const i of run.held) plot.append("rect").attr("class", "held").attr("x", x(i.start)).attr("width", Math.max(1, x(i.end) - x(i.start))).attr("y", top).attr("height", height - 20 - top);
      const hit = plot.append("rect").attr("class", "hit").attr("x", left).attr("width", Math.max(0, width - left - right)).attr("y", top).attr("height", height - 20 - top);
      let y = top;
      for (const g of groups) {
        svg.append("text").attr("x", left).attr("y", y + 12).text(g.name);
        y += 17;
        drawSpans(plot, g, x, y);
        y += g.lanes * lane + 7;
      }
      if (disk) drawDisk(svg, plot, x, y, disk - 12, left, width - right);
      svg.append("g").attr("transform", `translate(0,${height - 20})`).call(d3.axisBottom(x).ticks(Math.max(2, width / 110)).tickSize(4).tickFormat(time));
      drag(svg.node(), hit, plot, x, height);
    }

    // drawSpans draws spans of one class that touch on one lane as one, when they
    // are too narrow to be told apart.
    function drawSpans(plot, g, x, y) {
      const drawn = [], last = [];
      for (const s of g.spans) {
        const a = x(s.start), b = Math.max(x(s.end), a + 1);
        if (s.end < domain[0] || s.start > domain[1]) continue;
        const c = spanClass(s), p = last[s.lane];
        if (p && p.c === c && a - p.b < 0.7 && (b - a < 2.5 || p.b - p.a < 2.5)) { p.b = Math.max(p.b, b); p.of.push(s); continue; }
        drawn.push(last[s.lane] = {a, b, c, lane: s.lane, of: [s]});
      }
      plot.append("g").attr("class", "spans").selectAll("rect").data(drawn).join("rect")
        .attr("class", d => "mark c-" + d.c).attr("x", d => d.a).attr("width", d => Math.max(0.8, d.b - d.a - (d.b - d.a > 3 ? 1 : 0))).attr("y", d => y + d.lane * lane).attr("height", lane - (lane > 5 ? 2 : 1)).attr("rx", 1)
        .on("pointermove", (ev, d) => say(ev, d.of.length > 1 ? counted(d.of.length, "image") + ", from " + time(d.of[0].start) : spanName(d.of[0]) + "\n" + time(d.of[0].end - d.of[0].start) + " from " + time(d.of[0].start) + (d.of[0].outcome === "published" || d.of[0].outcome === "ready" ? "" : "\n" + d.of[0].outcome)))
        .on("pointerleave", hush)
        .on("click", (ev, d) => { if (d.of.length > 1) zoom(d.of[0].start - 0.1, d3.max(d.of, s => s.end) + 0.1); else if (d.of[0].image != null) openImage(d.of[0].image); });
    }

    function drawDisk(svg, plot, x, y, height, left, right) {
      const all = run.disks.flatMap(d => d.points), most = d3.max(all.concat(old ? old.disks.flatMap(d => d.points) : []), p => Math.max(p[1], p[2]));
      const least = d3.min(all, p => p[1]), from = most - least < most / 4 ? least - (most - least) * 0.3 : 0; // a disk that others fill, too
      const v = d3.scaleLinear([from, most * 1.0 + (most - from) * 0.08], [y + height, y + 16]);
      svg.append("text").attr("x", left).attr("y", y + 8).text(from > 0 ? `disk (from ${bytes(from)} up)` : "disk");
      const ticks = svg.append("g").attr("transform", `translate(${left},0)`).call(d3.axisLeft(v).ticks(3).tickSize(0).tickFormat(n => diskLabel(n, most - from)));
      ticks.select(".domain").remove();
      const at = d3.line(p => x(p[0]), p => v(p[1])).curve(d3.curveStepAfter);
      for (const d of old ? old.disks : []) plot.append("path").attr("class", "old").attr("d", at(d.points));
      for (const d of run.disks) {
        plot.append("path").attr("class", "area").attr("d", d3.area(p => x(p[0]), y + height, p => v(p[1])).curve(d3.curveStepAfter)(d.points));
        plot.append("path").attr("class", "disk").attr("d", at(d.points));
        plot.append("path").attr("class", "budget").attr("d", d3.line(p => x(p[0]), p => v(p[2])).defined(p => p[2] > 0).curve(d3.curveStepAfter)(d.points));
      }
      const size = d3.scaleSqrt([0, d3.max(run.releases, r => r.bytes) || 1], [1, 14]);
      plot.append("g").selectAll("rect").data(run.releases).join("rect").attr("class", r => "mark c-" + (r.error ? "bad" : "made")).attr("x", r => x(r.start)).attr("width", r => Math.max(1.5, x(r.end) - x(r.start)))
        .attr("y", r => y + height - size(r.bytes)).attr("height", r => size(r.bytes)).on("pointermove", (ev, r) => say(ev, `released ${bytes(r.bytes)}${r.images ? " of " + counted(r.images, "image") : ""} in ${time(r.end - r.start)}${r.error ? "\n" + r.error : ""}`)).on("pointerleave", hush);
    }
    const diskLabel = (n, range) => n > 1 << 30 && range < 20 * (1 << 30) ? (n / (1 << 30)).toFixed(range < 2 * (1 << 30) ? 2 : 1) + " GiB" : bytes(n);

    function drag(svg, hit, plot, x, height) {
      let from = null, box = null;
      const at = ev => x.invert(d3.pointer(ev, svg)[0]);
      hit.on("pointerdown", ev => { if (ev.pointerType !== "mouse") return; from = at(ev); hit.node().setPointerCapture(ev.pointerId); box = plot.append("rect").attr("class", "brush").attr("y", top).attr("height", height - 20 - top); });
      hit.on("pointermove", ev => {
        const t = at(ev);
        if (from != null) { box.attr("x", x(Math.min(from, t))).attr("width", Math.abs(x(t) - x(from))); return; }
        const lines = run.disks.map(d => { const i = d3.bisector(p => p[0]).right(d.points, t) - 1; return i < 0 ? "" : `${d.worker || "disk"}: ${bytes(d.points[i][1])}`; });
        if (run.held.some(i => i.start <= t && t <= i.end)) lines.push("held back");
        say(ev, [time(t), ...lines].filter(Boolean).join("\n"));
      });
      hit.on("pointerleave", hush);
      hit.on("pointerup", ev => { const t = at(ev), f = from; from = null; if (box) box.remove(); if (f != null && Math.abs(x(t) - x(f)) > 4) zoom(Math.min(f, t), Math.max(f, t)); });
    }

    const key = [["base", "an image in work"], ["shared", "a shared step"], ["bad", "failed, lost or tried again"]].filter(([c]) => run.spans.some(s => spanClass(s) === c));
    if (run.held.length) key.push(["held", `held back: images could have started (${time(d3.sum(run.held, i => i.end - i.start))} in all)`]);
    if (run.releases.length) key.push(["made", `a release (${count(run.releases.length)})`]);
    sec.body.append(run.spans.length || disk ? fig.f : h("p", {class: "soft"}, "Nothing was in work."), live,
      h("ul", {class: "legend"}, key.map(([c, t]) => h("li", {class: "tag c-" + c}, h("i", {class: "dot"}), t)), run.disks.some(d => d.points.some(p => p[2])) && h("li", {}, "- - the budget"), old && old.disks.length > 0 && h("li", {}, "··· the disk of run " + old.id)));
    const phases = Object.entries(run.summary.phaseSeconds || {}).sort((a, b) => b[1] - a[1]);
    if (phases.length) sec.body.append(h("p", {class: "small soft"}, "Phases, which may overlap: " + phases.map(([n, s]) => n + " " + time(s)).join(", ") + "."));
    const ws = run.summary.workers || [];
    if (ws.length) sec.body.append(table("", [["Worker"], ["Images", "num"], ["Disk at most", "num"], ["Allowed", "num"], ["At the end", "num wide"], ["Lost", "num"]],
      ws.map(w => [w.name, count(w.images), bytes(w.diskPeakBytes), bytes(w.diskBudgetBytes), bytes(w.diskFinalBytes), w.lost ? [count(w.lost), h("div", {class: "small soft"}, w.lostCause || "")] : "–"])));
    return sec.body;
  }

  // --- where it went -----------------------------------------------------------

  const isWork = n => n.kind && !["image", "local", "git", "http"].includes(n.kind);
  const partWords = {resolve: "resolving references", pull: "pulling layers", unpack: "unpacking layers", export: "making layers of results", push: "pushing layers", tag: "putting manifests and tags"};

  // tree is where the seconds, or the bytes, of a run went.
  function tree(bytesMode) {
    const amount = s => bytesMode ? s.pulled || 0 : s.cached ? 0 : s.took || 0;
    const group = (name, cls) => ({name, cls, children: []});
    const shared = group(bytesMode ? "Pulled for shared steps" : "Shared steps", "shared"), base = group(bytesMode ? "Pulled for each image" : "Steps of each image", "base"), move = group(bytesMode ? "Sent by the client" : "Moving layers", "move");
    const byStep = (steps, to) => {
      for (const [i, list] of d3.group(steps.filter(s => amount(s.s) > 0 && (bytesMode || isWork(run.stepNames[s.s.step]))), s => s.s.step)) {
        const node = {name: run.stepNames[i].name, runs: list.length};
        const of = list.filter(s => s.im).sort((a, b) => amount(b.s) - amount(a.s));
        if (of.length > 1) {
          node.children = of.slice(0, 80).map(s => ({name: s.im.id, image: index.get(s.im.id), value: amount(s.s)}));
          if (of.length > 80) node.children.push({name: counted(of.length - 80, "other image"), value: d3.sum(of.slice(80), s => amount(s.s))});
        } else { node.value = d3.sum(list, s => amount(s.s)); if (of.length) node.image = index.get(of[0].im.id); }
        to.children.push(node);
      }
    };
    const own = run.images.flatMap(im => (im.steps || []).map(s => ({s, im})));
    byStep(run.shared.map(s => ({s})).concat(own.filter(x => run.stepNames[x.s.step].shared).map(x => ({s: x.s}))), shared);
    byStep(own.filter(x => !run.stepNames[x.s.step].shared), base);
    if (!bytesMode) for (const p of run.summary.parts || []) { if (p.totalSeconds > 0 && p.name !== "wait" && p.name !== "steps") move.children.push({name: (partWords[p.name] || p.name) + (p.shared ? " of shared steps" : ""), value: p.totalSeconds, runs: p.count}); }
    else if (run.summary.bytesPushed) move.children.push({name: "blobs and manifests", value: run.summary.bytesPushed});
    return {name: bytesMode ? "All bytes" : "All work", children: [base, shared, move].filter(g => g.children.length)};
  }

  function cost() {
    const sec = section("cost", "Where time and bytes went", "Cost");
    let mode = false, root, at;
    const show = v => mode ? bytes(v) : time(v), crumbs = h("nav", {class: "crumbs", "aria-label": "Path in the picture"});
    const fig = figure("Work by group, step and image; the width is the share", draw);
    const row = 30, rows = 4;
    const load = m => { mode = m; root = d3.partition()(d3.hierarchy(tree(m)).sum(d => d.value || 0).sort((a, b) => b.value - a.value)); at = root; fig.again(); for (const b of seg.children) b.setAttribute("aria-pressed", String((b.dataset.m === "b") === m)); trail(); };
    const seg = h("span", {class: "seg", role: "group", "aria-label": "What the width means"}, h("button", {type: "button", class: "btn", "data-m": "t", onclick: () => load(false)}, "Time"), h("button", {type: "button", class: "btn", "data-m": "b", onclick: () => load(true)}, "Bytes"));
    function go(n) { if (n.children) at = n; else if (n.data.image != null) return openImage(n.data.image); else at = n; fig.again(); trail(); const c = fig.svg.querySelector(".cell"); if (c) c.focus({preventScroll: true}); }
    function trail() {
      crumbs.replaceChildren(...at.ancestors().reverse().flatMap((n, i) => [i ? "›" : "", n === at ? h("span", {"aria-current": "true"}, `${n.data.name}: ${show(n.value)}`) : h("button", {type: "button", class: "link", onclick: () => go(n)}, n.data.name)]));
    }
    const cls = n => { const g = n.ancestors().find(a => a.depth === 1); return g ? g.data.cls : "other"; };
    function draw(svg, width) {
      const list = root.descendants().filter(n => n.x1 > at.x0 && n.x0 < at.x1 && n.depth >= at.depth && n.depth < at.depth + rows && (n.depth > at.depth || n === at));
      const x = d3.scaleLinear([at.x0, at.x1], [0, width]), deep = d3.max(list, n => n.depth - at.depth) + 1;
      svg.attr("viewBox", `0 0 ${width} ${deep * row}`).attr("height", deep * row).selectAll("*").remove();
      if (!root.value) { svg.attr("height", 20).append("text").attr("y", 14).text("Nothing was measured."); return; }
      const label = n => `${n.data.name}: ${show(n.value)}, ${(100 * n.value / root.value).toFixed(n.value < root.value / 100 ? 2 : 0)} %` + (n.data.runs > 1 ? `, ${count(n.data.runs)} times` : "");
      const cell = svg.selectAll("g").data(list.filter(n => x(n.x1) - x(n.x0) > 0.6)).join("g").attr("class", n => "cell c-" + cls(n)).attr("transform", n => `translate(${x(n.x0)},${(n.depth - at.depth) * row})`)
        .attr("tabindex", n => x(n.x1) - x(n.x0) > 6 ? 0 : null).attr("role", "button").attr("aria-label", label)
        .on("click", (ev, n) => go(n === at && n.parent ? n.parent : n))
        .on("keydown", (ev, n) => { if (ev.key === "Enter" || ev.key === " ") { ev.preventDefault(); go(n === at && n.parent ? n.parent : n); } if ((ev.key === "Backspace" || ev.key === "Escape") && at.parent) { ev.preventDefault(); go(at.parent); } })
        .on("pointermove", (ev, n) => say(ev, label(n))).on("pointerleave", hush);
      cell.append("rect").attr("class", "mark").attr("width", n => x(n.x1) - x(n.x0)).attr("height", row - 1).attr("rx", 2).attr("fill-opacity", n => Math.max(0.62, 1 - 0.13 * Math.max(0, n.depth - 1)));
      cell.filter(n => x(n.x1) - x(n.x0) > 34).append("text").attr("x", 7).attr("y", 19).text(n => fit(n.data.name + "  " + show(n.value), x(n.x1) - x(n.x0) - 12));
    }
    const fit = (s, w) => { const n = Math.floor(w / 6.1); return s.length <= n ? s : n < 3 ? "" : s.slice(0, n - 1) + "…"; };
    sec.head.append(h("span", {class: "soft small grow noprint"}, "Click to go in; the top row goes back out"), seg);
    sec.body.append(crumbs, fig.f);
    load(false);
    sec.body.append(stepTable());
    return sec.body;
  }

  function stepTable() {
    const steps = [...run.summary.steps].filter(s => s.kind || s.executed).sort((a, b) => b.totalSeconds - a.totalSeconds), most = d3.max(steps, s => s.totalSeconds) || 1;
    const was = new Map(old ? old.summary.steps.map(s => [s.name + s.shared, s]) : []);
    const row = s => {
      const bar = h("i", {}), w = was.get(s.name + s.shared); bar.style.width = s.totalSeconds / most * 100 + "%";
      return [stepText(s.name), count(s.executed), count(s.cached), time(s.totalSeconds), h("span", {class: "track c-" + (s.shared ? "shared" : "base"), "aria-hidden": "true"}, bar), time(s.p50Seconds), time(s.p95Seconds), s.pulledBytes ? bytes(s.pulledBytes) : "–", ...(old ? [w ? signed(s.totalSeconds - w.totalSeconds, time) : "new"] : [])];
    };
    const head = [["Step"], ["Ran", "num"], ["Cached", "num"], ["Time", "num"], ["", "wide"], ["Median", "num wide"], ["95 %", "num wide"], ["Pulled", "num wide"], ...(old ? [["Change", "num"]] : [])];
    let t = table("Steps by time", head, steps.slice(0, 15).map(row));
    const box = h("div", {}, h("h3", {}, "Steps"), t);
    if (steps.length > 15) { const b = h("button", {type: "button", class: "btn", onclick: () => { const n = table("Steps by time", head, steps.map(row)); t.replaceWith(n); b.remove(); }}, `Show all ${count(steps.length)}`); box.append(h("p", {}, b)); }
    return box;
  }

  // --- the fleet ---------------------------------------------------------------

  const filter = {text: "", heat: ""};
  function fleet(refresh) {
    const sec = section("fleet", "The fleet, image by image", "Fleet"), kinds = run.images.map(heat), n = kinds.length;
    let at = 0, columns = 1, size = 10;
    const live = h("p", {class: "vh", "aria-live": "polite"});
    const fig = figure("Temperature of each image, in the order of the plan", (svg, width) => {
      size = n > 4000 ? 8 : n > 1000 ? 11 : n > 200 ? 14 : 20; columns = Math.max(1, Math.floor(width / size));
      const height = Math.ceil(n / columns) * size + 2;
      svg.attr("viewBox", `0 0 ${width} ${height}`).attr("height", height).selectAll("*").remove();
      for (const [k] of heats) {
        const d = kinds.map((c, i) => c === k ? `M${i % columns * size + 1},${Math.floor(i / columns) * size + 1}h${size - 2}v${size - 2}h${2 - size}z` : "").join("");
        if (d) svg.append("path").attr("class", "mark c-" + k).attr("d", d);
      }
      const cursor = svg.append("rect").attr("class", "cursor").attr("width", size - 1).attr("height", size - 1).attr("visibility", "hidden");
      const put = () => cursor.attr("visibility", document.activeElement === fig.f ? "visible" : "hidden").attr("x", at % columns * size + .5).attr("y", Math.floor(at / columns) * size + .5);
      const under = ev => { const [x, y] = d3.pointer(ev, svg.node()), i = Math.floor(y / size) * columns + Math.floor(x / size); return x < columns * size && i >= 0 && i < n ? i : -1; };
      svg.on("pointermove", ev => { const i = under(ev); say(ev, i < 0 ? "" : text(i)); }).on("pointerleave", hush).on("click", ev => { const i = under(ev); if (i >= 0) openImage(i); });
      fig.put = put;
      put();
    });
    const text = i => `${run.images[i].id}: ${kinds[i]}` + (run.images[i].seconds != null ? ", " + time(run.images[i].seconds) : "");
    fig.f.tabIndex = 0;
    fig.f.setAttribute("role", "group");
    fig.f.setAttribute("aria-label", "Temperature of each image; arrow keys move, Enter opens");
    fig.f.addEventListener("focus", () => fig.put && fig.put());
    fig.f.addEventListener("blur", () => fig.put && fig.put());
    fig.f.addEventListener("keydown", ev => {
      const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -n, End: n}[ev.key];
      if (step) { ev.preventDefault(); at = Math.max(0, Math.min(n - 1, at + step)); fig.put(); live.textContent = text(at); }
      if (ev.key === "Enter") openImage(at);
    });
    const counts = d3.rollup(kinds, v => v.length, k => k);
    const buttons = heats.filter(([k]) => counts.get(k)).map(([k, t]) => h("li", {}, h("button", {type: "button", class: "btn tag c-" + k, "data-k": k, "aria-pressed": "false", onclick: ev => {
      filter.heat = filter.heat === k ? "" : k;
      for (const b of list.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.k === filter.heat));
      refresh();
    }}, h("i", {class: "dot", "aria-hidden": "true"}), `${count(counts.get(k))} ${t}`)));
    const list = h("ul", {class: "legend", "aria-label": "Show only these in the table"}, buttons);
    sec.body.append(fig.f, live, list);
    return sec.body;
  }

  function images() {
    const sec = section("images", "Images", "Images");
    const made = im => (im.steps || []).filter(s => !s.cached && isWork(run.stepNames[s.step])).length;
    const cols = [["Image", im => im.id], ["Is", im => heat(im)], ["Action", im => im.action || "", "wide"], ["Time", im => im.seconds ?? -1, "num"], ...(old ? [["Change", im => change(im) ?? -Infinity, "num"]] : []), ["Steps run", im => made(im), "num wide"], ["Pulled", im => im.pulled || 0, "num wide"], ["Attempts", im => im.attempts || 0, "num wide"], ["Worker", im => im.worker == null ? "" : run.workers[im.worker], "wide"]];
    const change = im => im.seconds != null && old.seconds[im.id] != null ? im.seconds - old.seconds[im.id] : null;
    let order = -1, down = false, first = 0, rows = [], printing = false;
    const search = h("input", {type: "search", placeholder: "Search id, tag, base, step", "aria-label": "Search images", oninput: () => { filter.text = search.value.trim().toLowerCase(); refresh(); }});
    const status = h("span", {class: "soft small", "aria-live": "polite"}), body = h("tbody"), prev = h("button", {type: "button", class: "btn", onclick: () => turn(-1)}, "Previous"), next = h("button", {type: "button", class: "btn", onclick: () => turn(1)}, "Next");
    const heads = cols.map(([t, , c], i) => h("th", {scope: "col", class: c}, h("button", {type: "button", onclick: () => { down = order === i ? !down : c === "num" || c === "num wide"; order = i; refresh(); }}, t)));
    const texts = run.images.map(im => [im.id, ...(im.tags || []), im.base, im.digest, im.action, ...(im.why || []).map(w => w.code)].join("\n").toLowerCase());
    const names = run.stepNames.map(n => n.name.toLowerCase());
    function refresh() {
      first = 0;
      const steps = new Set(filter.text ? names.flatMap((n, i) => n.includes(filter.text) ? [i] : []) : []);
      rows = run.images.map((_, i) => i).filter(i => (!filter.heat || heat(run.images[i]) === filter.heat) && (!filter.text || texts[i].includes(filter.text) || steps.size > 0 && (run.images[i].steps || []).some(s => steps.has(s.step))));
      if (order >= 0) { const key = new Map(rows.map(i => [i, cols[order][1](run.images[i])])); rows.sort((a, b) => (down ? -1 : 1) * d3.ascending(key.get(a), key.get(b)) || a - b); }
      heads.forEach((th, i) => i === order ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort"));
      draw();
    }
    function draw() {
      const shown = printing ? rows.slice(0, 2000) : rows.slice(first, first + pageRows);
      body.replaceChildren(...shown.map(i => { const im = run.images[i];
        return h("tr", {}, h("th", {scope: "row"}, link(im.id)), h("td", {}, badge(heat(im))), h("td", {class: "wide"}, im.action || "–"), h("td", {class: "num"}, time(im.seconds)),
          old && (c => h("td", {class: "num " + (c > 0 ? "up" : c < 0 ? "down" : "")}, c == null ? "–" : signed(c, time)))(change(im)),
          h("td", {class: "num wide"}, count(made(im))), h("td", {class: "num wide"}, im.pulled ? bytes(im.pulled) : "–"), h("td", {class: "num wide"}, im.attempts || "–"), h("td", {class: "wide"}, im.worker == null ? "–" : run.workers[im.worker])); }));
      status.textContent = rows.length === 0 ? "No image is like that" : rows.length <= pageRows ? counted(rows.length, "image") : `${count(first + 1)} to ${count(Math.min(first + pageRows, rows.length))} of ${count(rows.length)} images`;
      prev.disabled = first === 0; next.disabled = first + pageRows >= rows.length;
      prev.hidden = next.hidden = rows.length <= pageRows;
    }
    const turn = d => { first = Math.max(0, first + d * pageRows); draw(); sec.body.scrollIntoView(); };
    addEventListener("beforeprint", () => { printing = true; draw(); });
    addEventListener("afterprint", () => { printing = false; draw(); });
    sec.head.append(h("span", {class: "grow"}), h("span", {class: "tools"}, search));
    sec.body.append(h("div", {class: "scroll"}, h("table", {}, h("caption", {class: "vh"}, "Images"), h("thead", {}, h("tr", {}, heads)), body)), h("p", {class: "tools"}, status, prev, next));
    refresh();
    return {body: sec.body, refresh};
  }

  // --- one image ---------------------------------------------------------------

  const dialog = h("dialog", {"aria-labelledby": "image-h"});
  dialog.addEventListener("click", ev => { if (ev.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (location.hash.startsWith("#image=")) history.replaceState(null, "", location.pathname + location.search); });

  function openImage(i) {
    hush();
    const im = run.images[i], steps = im.steps || [], fact = (k, v) => v ? [h("dt", {}, k), h("dd", {}, v)] : [];
    const near = d => h("button", {type: "button", class: "btn", disabled: i + d < 0 || i + d >= run.images.length, "aria-label": d < 0 ? "Previous image" : "Next image", onclick: () => openImage(i + d)}, d < 0 ? "←" : "→");
    const most = d3.max(steps, s => s.took || 0) || 1, f = im.failure != null ? run.summary.failures[im.failure] : null;
    const row = s => {
      const n = run.stepNames[s.step], bar = h("i", {}), log = s.log != null ? run.logs[s.log] : null;
      bar.style.width = (s.cached ? 0 : (s.took || 0) / most * 100) + "%";
      return [[stepText(n.name), s.error && h("div", {class: "up small"}, s.error), log && h("details", {open: !!s.error}, h("summary", {class: "small soft"}, "Output" + (log.bytes > log.text.length * 1.1 + 200 ? `, the end of ${bytes(log.bytes)}` : "")), h("pre", {tabindex: 0}, log.text))],
        s.cached ? h("span", {class: "soft"}, "cached") : time(s.took || 0), h("span", {class: "track c-" + (s.error ? "bad" : "base"), "aria-hidden": "true"}, bar), s.pulled ? bytes(s.pulled) : "–"];
    };
    const shared = run.shared.filter(s => s.log != null || s.error);
    dialog.replaceChildren(
      h("div", {class: "head"}, h("h2", {id: "image-h"}, im.id), badge(heat(im)), near(-1), near(1), h("button", {type: "button", class: "btn", "aria-label": "Close", onclick: () => dialog.close()}, "✕")),
      h("div", {class: "body"},
        f && h("div", {class: "problem"}, h("strong", {}, "Failed" + (f.step ? " in " + f.step : "")), h("p", {class: "mono"}, f.cause), f.help && h("p", {}, f.help), f.log && h("pre", {tabindex: 0}, f.log)),
        h("dl", {class: "facts"}, fact("Action", im.action), (im.why || []).map(w => fact("Because", [prose(w.detail || w.code), w.place && h("span", {class: "soft mono"}, " " + w.place)])), fact("In work", im.seconds != null && time(im.seconds)), old && fact("Before", old.seconds[im.id] != null && time(old.seconds[im.id])),
          fact("Worker", im.worker != null && run.workers[im.worker]), fact("Attempts", im.attempts > 1 && String(im.attempts)), fact("Platform", im.platform), fact("Base", im.base && h("span", {class: "mono"}, im.base)), fact("Base digest", im.baseDigest && h("span", {class: "mono"}, im.baseDigest)),
          (im.tags || []).map(t => fact("Tag", h("span", {class: "mono"}, t))), fact("Digest", im.digest && h("span", {class: "mono"}, im.digest)), fact("Content key", im.key && h("span", {class: "mono"}, im.key))),
        h("h3", {}, "Steps of this image"), steps.length ? table("", [["Step"], ["Took", "num"], ["", "wide"], ["Pulled", "num wide"]], steps.map(row)) : h("p", {class: "soft"}, "No step ran for this image alone."),
        shared.length > 0 && h("details", {}, h("summary", {}, "Output of shared steps"), table("", [["Step"], ["Took", "num"], ["", "wide"], ["Pulled", "num wide"]], shared.map(row)))));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    history.replaceState(null, "", "#image=" + encodeURIComponent(im.id));
  }

  // --- an experiment -----------------------------------------------------------

  const verdict = s => h("span", {class: "verdict " + s}, s);

  function labPage() {
    const t = lab.trials, [still, told] = [true, false].map(x => lab.causes.filter(c => c.sentence && c.sentence.startsWith("nothing of ") === x)), out = [h("div", {id: "overview"}, h("h1", {}, lab.experiment + ": ", verdict(lab.status)),
      h("p", {class: "soft"}, `${count(t.counted)} of ${counted(t.planned, "trial")} count` + (t.contaminated ? `, ${count(t.contaminated)} are contaminated` : "") + (t.missing ? `, ${count(t.missing)} are missing` : "") + " · " + short(lab.digest)),
      ...told.map(c => h("p", {}, h("strong", {}, `${c.metric}, ${c.temperature}: `), c.sentence)), still.length > 0 && h("p", {class: "soft"}, "Nothing changes " + still.map(c => `${c.metric} (${c.temperature})`).join(", ") + "."), ...(lab.notAsked || []).map(n => h("p", {class: "soft"}, n)))];
    out.push(grid());
    if (told.some(c => c.terms || c.amplifier)) out.push(causes(told));
    if (lab.findings.length) out.push(gates());
    if (lab.searches.length) out.push(searches());
    for (const [i, m] of lab.misses.entries()) out.push(misses(m.report, 0, "misses-" + i, "Why steps of " + m.cell + " were not cached"));
    if (lab.pairs && lab.pairs.length) out.push(pairs());
    const rest = section("rest", "What it rests on", "Basis");
    const list = (title, items) => items && items.length ? rest.body.append(h("h3", {}, title), h("ul", {class: "small"}, items.map(x => h("li", {}, x)))) : null;
    list("Contaminated trials, left out", (lab.contaminated || []).map(o => `${o.id}: ` + (o.faults || []).map(f => f.detail || f.code).join("; ")));
    list("Comparisons that were refused", (lab.refused || []).map(r => `${r.b} against ${r.a}: ${r.why}`));
    list("Warnings", (lab.warnings || []).map(w => `${w.metric}: ${w.code} (${w.low} to ${w.high})`).concat((lab.caveats || []).map(c => c.message)));
    list("Not looked at", lab.unchecked);
    rest.body.append(h("p", {class: "small"}, "Shown again with ", h("code", {}, lab.replay)));
    out.push(rest.body);
    return out;
  }

  function grid() {
    const g = lab.grid, sec = section("grid", g.metric + " in every cell", "Cells"), all = g.rows.flatMap(r => r.cells).filter(c => c && c.value != null), most = d3.max(all, c => c.value) || 1;
    const cell = c => {
      if (!c) return "";
      if (c.value == null) return h("span", {class: "soft"}, c.contaminated ? "contaminated" : "no trial");
      const bar = h("i", {}); bar.style.width = c.value / most * 100 + "%";
      return [h("strong", {}, (c.censored ? "≥ " : "") + value(g.unit, c.value)), c.high > c.low && h("span", {class: "soft small"}, ` ${value(g.unit, c.low)} to ${value(g.unit, c.high)}`), h("span", {class: "track", "aria-hidden": "true"}, bar), h("div", {class: "soft small"}, counted((c.trials || []).length, "trial") + (c.contaminated ? `, ${c.contaminated} left out` : ""))];
    };
    sec.body.append(table("A bar is the share of the largest value", [["Setting"], ...g.temperatures.map(t => [t, "heat"])], g.rows.map(r => [r.setting || "as it is", ...r.cells.map(cell)])));
    return sec.body;
  }

  // causes says what each factor does to what changed, alone and with the others.
  function causes(told) {
    const sec = section("causes", "What each factor does", "Causes");
    for (const c of told.filter(c => c.terms || c.amplifier)) {
      const effect = v => v == null ? "" : v === 0 ? "0" : signed(v, x => value(c.unit, x)), share = v => v == null ? "" : (100 * v).toFixed(0) + " %";
      const names = set => c.order.filter((_, i) => set >> i & 1), size = set => names(set).length, alone = (c.terms || []).filter(t => size(t.set) === 1), shareOf = name => (alone.find(t => names(t.set)[0] === name) || {}).share;
      const rows = (c.factors || []).map(f => [f.name, effect(f.alone), effect(f.last), effect(f.shapley), share(shareOf(f.name))])
        .concat((c.terms || []).filter(t => size(t.set) > 1 && Math.abs(t.value) > c.margin).map(t => [names(t.set).join(" with "), effect(t.value), "", "", share(t.share)]));
      if (rows.length) rows.push(["all together", effect(c.total), "", "", ""]);
      sec.body.append(h("h3", {}, `${c.metric}, ${c.temperature}: ${c.verdict}`), rows.length ? table("Alone: when nothing else is new. Last: when all else is. Fair: its share of the total", [["Factor"], ["Alone", "num"], ["Last", "num"], ["Fair", "num"], ["Of the variation", "num"]], rows) : null,
        c.amplifier && h("p", {class: "soft"}, c.amplifier.lacks ? "The disk: " + c.amplifier.lacks + "." : c.amplifier.sentence));
    }
    return sec.body;
  }

  function gates() {
    const sec = section("gates", "Gates and claims", "Gates");
    if (lab.gates.length) sec.body.append(table("Gates", [["Gate"], ["Status"], ["Claims passed", "num"]], lab.gates.map(g => [g.name, verdict(g.status), `${g.passed} of ${g.claims}`])));
    sec.body.append(table("Claims", [["Claim"], ["Status"], ["What is claimed"], ["Expected", "wide"]], lab.findings.map(f => { const p = lab.predictions.find(x => x.claim === f.name);
      return [f.name, [verdict(f.status), f.waived && h("div", {class: "small soft"}, "waived"), f.expired && h("div", {class: "small up"}, "waiver expired")], [h("span", {class: "mono"}, f.text), f.why && h("div", {class: "soft small"}, f.why)], p ? (p.holds ? "holds" : "fails") + (p.right == null ? "" : p.right ? ", as it came" : ", but it came otherwise") : "–"]; })));
    return sec.body;
  }

  function searches() {
    const sec = section("bisect", "Searches for culprits", "Searches");
    for (const s of lab.searches) {
      const name = id => (s.names && s.names[id]) || short(id) || id;
      const known = s.points.filter(p => p.state === "known"), y = d3.scaleLinear(d3.extent(known, p => p.value), [74, 16]);
      const fig = figure(s.name, (svg, width) => {
        const x = d3.scalePoint(s.points.map(p => p.id), [70, width - 20]).padding(0.3), v = p => p.state === "known" ? y(p.value) : 84;
        svg.attr("class", "strip").attr("viewBox", `0 0 ${width} 112`).attr("height", 112).selectAll("*").remove();
        for (const e of new Set(y.domain())) svg.append("text").attr("x", 60).attr("y", y(e) + 4).attr("text-anchor", "end").text(value("", e));
        svg.append("path").attr("d", d3.line(p => x(p.id), p => y(p.value)).curve(d3.curveStepAfter)(known));
        svg.selectAll("circle").data(s.points).join("circle").attr("cx", p => x(p.id)).attr("cy", v).attr("r", p => p.culprit ? 6 : 4.5).attr("class", p => p.culprit ? "culprit" : p.state).on("pointermove", (ev, p) => say(ev, `${name(p.id)}\n${p.state === "known" ? value("", p.value) : p.state}${p.culprit ? "\nculprit" : ""}`)).on("pointerleave", hush);
        const every = Math.ceil(s.points.length * 62 / width);
        svg.selectAll(".n").data(s.points.filter((p, i) => i % every === 0 || p.culprit)).join("text").attr("class", p => p.culprit ? "ink" : "").attr("x", p => x(p.id)).attr("y", 106).attr("text-anchor", "middle").text(p => name(p.id).slice(0, 10));
      });
      sec.body.append(h("h3", {}, s.name), fig.f, h("ul", {class: "legend"}, h("li", {}, "● measured"), h("li", {}, "○ not looked at, or without a value"), h("li", {class: "tag c-failed"}, h("i", {class: "dot"}), "culprit")),
        h("ul", {}, (s.result.findings || []).map(f => h("li", {}, `${f.oneOf.map(name).join(" or ")}: ${value("", f.before)} → ${value("", f.after)} (${f.state}); before it ${name(f.parent)}`))), h("p", {class: "small soft"}, `${counted(s.result.probes, "checkpoint")} measured, ${count(s.result.again)} again` + (s.result.done ? "." : "; the search goes on.")));
    }
    return sec.body;
  }

  function pairs() {
    const sec = section("pairs", "Cells compared", "Pairs");
    for (const p of lab.pairs) {
      const rows = p.metrics.filter(c => c.verdict !== "SAME" && c.relevant), mean = (unit, list) => list && list.length ? value(unit, d3.mean(list, v => v.v)) : "–";
      sec.body.append(h("h3", {}, `${p.b.cell} against ${p.a.cell}`), rows.length ? table("", [["Metric"], ["Answer"], [p.a.cell, "num"], [p.b.cell, "num"]], rows.map(c => [c.metric, c.verdict + (c.why ? ": " + c.why : ""), mean(c.unit, c.old), mean(c.unit, c.new)])) : h("p", {class: "soft"}, "The same in every metric that tells."));
    }
    return sec.body;
  }

  // --- the page ----------------------------------------------------------------

  function theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)"), words = ["system", "light", "dark"];
    let choice = "system";
    const apply = () => { document.documentElement.dataset.theme = choice === "system" ? (dark.matches ? "dark" : "light") : choice; b.textContent = "Theme: " + choice; };
    const b = h("button", {type: "button", class: "btn", id: "theme", onclick: () => { choice = words[(words.indexOf(choice) + 1) % 3]; apply(); }});
    dark.addEventListener("change", apply);
    let before = null;
    addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; document.documentElement.dataset.theme = "light"; }); // paper is white
    addEventListener("afterprint", () => { if (before) document.documentElement.dataset.theme = before; before = null; });
    apply();
    return b;
  }

  function build() {
    const button = theme();
    let parts;
    if (run) {
      const im = images();
      parts = [overview(), page.difference && difference(), decisions(), page.misses && page.misses.misses.length > 0 && misses(page.misses, page.moreMisses, "misses", "Why steps ran"), overTime(), cost(), run.images.length > 0 && fleet(im.refresh), im.body];
    } else parts = labPage();
    parts = parts.filter(Boolean);
    const nav = h("nav", {"aria-label": "Sections"}, parts.map(p => h("a", {href: "#" + p.id}, p.dataset.brief || "Overview")));
    document.getElementById("app").replaceChildren(h("a", {class: "skip", href: "#main"}, "Skip to the report"), h("header", {class: "bar"}, h("div", {}, h("strong", {}, "Lapstrake"), nav, button)),
      h("main", {id: "main", tabindex: -1}, parts, h("footer", {}, "One file, which sends no request. Times are wall time at work; a dash is what was not measured.")), dialog, tip);
    const open = () => { const m = location.hash.match(/^#image=(.+)$/); if (m && run) { const i = index.get(decodeURIComponent(m[1])); if (i != null) openImage(i); } };
    addEventListener("hashchange", open);
    open();
    document.documentElement.dataset.ready = "true";
  }
  build();
})();

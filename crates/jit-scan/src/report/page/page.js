
"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const byId = (id) => document.getElementById(id);
  const severities = ["critical", "unclassified", "high", "medium", "low"];
  const states = ["open", "known", "accepted", "system"];
  const page = 100;
  const mostPaths = 40;
  let selected = null;
  let through = null;
  let shown = page;

  // Names are the cluster's: they become text, never markup.
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const nodesOf = (finding) => {
    const hops = finding.path.map((hop) => hop.object);
    const all = finding.subject ? [finding.holder, ...hops] : hops;
    return all.filter((name, at) => name !== all[at - 1]);
  };
  for (const finding of report.findings) {
    finding.nodes = nodesOf(finding);
    const grants = finding.path.map((hop) => hop.grants);
    finding.words = [finding.id, finding.severity, finding.fingerprint, finding.title, finding.place, ...finding.scope,
      ...finding.nodes, ...grants].join("\n").toLowerCase();
  }

  const choices = (into, names, counted, chosen) => {
    for (const name of names) {
      const count = report.findings.filter((finding) => finding[counted] === name).length;
      if (count === 0) continue;
      const label = make("label");
      const box = make("input");
      box.type = "checkbox";
      box.value = name;
      box.checked = chosen(name);
      box.addEventListener("change", filter);
      label.append(box, ` ${name} (${count})`);
      into.append(label);
    }
  };
  const chosen = (into) => new Set([...into.querySelectorAll("input:checked")].map((box) => box.value));

  const matching = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const severity = chosen(byId("severities"));
    const state = chosen(byId("states"));
    return report.findings.filter((finding) => severity.has(finding.severity) && state.has(finding.state)
      && (through === null || finding.nodes.includes(through)) && words.every((word) => finding.words.includes(word)));
  };

  const details = (finding) => {
    const box = make("div", undefined, "details");
    const path = make("ol");
    for (const hop of finding.path) {
      const step = make("li");
      step.append(make("code", hop.object), `: ${hop.grants}`);
      path.append(step);
    }
    box.append(path);
    for (const line of finding.used || []) box.append(make("p", line));
    if (finding.exception) {
      const accepted = finding.exception;
      box.append(make("p", `Accepted by ${accepted.owner} until ${accepted.expires}: ${accepted.reason}`));
    }
    const score = `Score ${finding.score.value}: ${finding.score.because.join(", ")}. Finding ${finding.fingerprint}.`;
    box.append(make("p", score, "quiet"));
    return box;
  };

  const list = (findings) => {
    byId("findings").replaceChildren(...findings.slice(0, shown).map((finding) => {
      const item = make("li");
      const button = make("button");
      button.type = "button";
      button.append(make("span", finding.severity, `severity ${finding.severity}`), make("span", finding.id, "quiet"), " ",
        make("span", finding.holder, "who"), `, ${finding.place}: ${finding.title}`);
      const box = details(finding);
      box.hidden = finding !== selected;
      button.setAttribute("aria-expanded", String(finding === selected));
      button.addEventListener("click", () => select(finding === selected ? null : finding));
      item.append(button, box);
      finding.button = button;
      return item;
    }));
    byId("more").hidden = findings.length <= shown;
  };

  const width = 230, height = 40, gap = 60, boxHeight = 28;
  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  const graph = (findings) => {
    const paths = findings.slice(0, mostPaths);
    if (selected && findings.includes(selected) && !paths.includes(selected)) paths.push(selected);
    const column = new Map();
    for (const finding of paths) {
      finding.nodes.forEach((name, at) => column.set(name, Math.max(at, column.get(name) || 0)));
    }
    const next = [];
    const place = new Map();
    for (const [name, at] of column) {
      next[at] = (next[at] || 0) + 1;
      place.set(name, { x: 10 + at * (width + gap), y: 10 + (next[at] - 1) * height });
    }
    const rows = Math.max(1, ...next.filter(Boolean));
    const wide = 20 + next.length * (width + gap) - gap, high = 20 + rows * height;
    const svg = draw("svg", { width: Math.max(wide, 1), height: high, viewBox: `0 0 ${Math.max(wide, 1)} ${high}`,
      "aria-label": "Paths", role: "group" });
    const isOn = new Set(selected ? selected.nodes : []);
    const lines = [];
    for (const finding of paths) {
      for (let at = 1; at < finding.nodes.length; at += 1) {
        const from = place.get(finding.nodes[at - 1]), to = place.get(finding.nodes[at]);
        const middle = boxHeight / 2;
        const bend = `M ${from.x + width} ${from.y + middle} C ${from.x + width + gap / 2} ${from.y + middle}, `
          + `${to.x - gap / 2} ${to.y + middle}, ${to.x} ${to.y + middle}`;
        const line = draw("path", { d: bend });
        if (finding === selected) line.classList.add("on");
        line.addEventListener("click", () => select(finding));
        lines.push([finding === selected, line]);
      }
    }
    lines.sort((one, other) => one[0] - other[0]);
    svg.append(...lines.map(([, line]) => line));
    for (const [name, { x, y }] of place) {
      const node = draw("g", { role: "button", tabindex: "0", "aria-pressed": String(through === name) });
      if (isOn.has(name)) node.classList.add("on");
      node.append(draw("title", {}, name), draw("rect", { x, y, width, height: boxHeight, rx: 4 }),
        draw("text", { x: x + 8, y: y + 18 }, cut(name, 34)));
      const only = () => {
        through = through === name ? null : name;
        filter();
      };
      node.addEventListener("click", only);
      node.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        only();
      });
      svg.append(node);
    }
    byId("graph").replaceChildren(svg);
    const left = findings.length - paths.length;
    byId("graph-note").textContent = paths.length === 0 ? "No path matches."
      : "Choose a box to see only what goes through it."
        + (left > 0 ? ` The first ${paths.length} paths are drawn, ${left} are not.` : "");
  };

  const update = () => {
    const findings = matching();
    byId("count").textContent = `${findings.length} of ${report.findings.length} findings`
      + (through === null ? "" : `, through ${through}`);
    graph(findings);
    list(findings);
  };
  function filter() {
    shown = page;
    update();
  }
  const select = (finding) => {
    selected = finding;
    const focused = finding || null;
    update();
    if (focused && focused.button) focused.button.focus();
  };

  byId("summary").textContent = `${report.summary}.`;
  choices(byId("severities"), severities, "severity", () => true);
  choices(byId("states"), states, "state", (name) => name === "open");
  if (chosen(byId("states")).size === 0) for (const box of byId("states").querySelectorAll("input")) box.checked = true;
  const others = [
    ...report.notEvaluated.map((missing) => `Not evaluated: ${missing.what}: ${missing.why}`),
    ...(report.idleExceptions || []).map((idle) => `The exception of ${idle.owner} for ${idle.finding}: ${idle.why}`),
    ...(report.resolved || []).map((kept) => `Resolved: ${kept.id} ${kept.title}`),
  ];
  byId("others").append(...(others.length ? others : ["None."]).map((line) => make("li", line)));
  byId("search").addEventListener("input", filter);
  byId("clear").addEventListener("click", () => {
    byId("search").value = "";
    through = null;
    filter();
    byId("search").focus();
  });
  byId("print").addEventListener("click", () => window.print());
  byId("more").addEventListener("click", () => {
    shown += page;
    update();
  });
  update();
})();

"use strict";
// The engine of a page without a server: the hashing embedder, linear heads and their detectors, with paths made before.
const engine = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const results = [];

  // MurmurHash3, 32 bits, of a text in UTF-8, as scikit-learn has it.
  const bytes = new TextEncoder();
  const murmur = (text) => {
    const b = bytes.encode(text), whole = b.length & ~3;
    let h = 0;
    const mix = (k) => { k = Math.imul(k, 0xcc9e2d51); return Math.imul((k << 15) | (k >>> 17), 0x1b873593); };
    for (let i = 0; i < whole; i += 4) {
      h ^= mix(b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24));
      h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
    }
    let k = 0;
    for (let i = b.length - 1; i >= whole; i--) k = (k << 8) | b[i];
    if (b.length > whole) h ^= mix(k);
    h ^= b.length;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) | 0;
  };
  const unit = (x) => {
    const norm = Math.sqrt(x.reduce((a, v) => a + v * v, 0));
    return norm ? x.map((v) => v / norm) : x;
  };
  const counted = (grams) => {
    const x = new Float64Array(data.dimension);
    for (const gram of grams) {
      const h = murmur(gram);
      x[Math.abs(h) % data.dimension] += h >= 0 ? 1 : -1;
    }
    return unit(x);
  };
  const embed = (text) => {
    text = text.toLowerCase();
    const words = text.match(/[\p{L}\p{N}_]+/gu) || [], runs = [];
    for (const word of text.split(/\s+/u).filter(Boolean)) {
      const w = [..." " + word + " "];
      for (let n = 3; n <= 5; n++) {
        let at = 0;
        runs.push(w.slice(0, n).join(""));
        while (at + n < w.length) { at++; runs.push(w.slice(at, at + n).join("")); }
        if (at === 0) break;
      }
    }
    const a = counted(words.concat(words.slice(1).map((w, i) => words[i] + " " + w))), b = counted(runs);
    return unit(a.map((v, i) => v + b[i])).map(Math.fround);
  };

  const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };
  const mean = (x) => x.reduce((a, v) => a + v, 0) / x.length;
  const left = (sorted, x, after = false) => {
    let low = 0, high = sorted.length;
    while (low < high) { const mid = (low + high) >> 1; if (sorted[mid] < x || (after && sorted[mid] === x)) low = mid + 1; else high = mid; }
    return low;
  };
  const say = (judge, rule, prompt, response) => {
    const x = embed(prompt ? `${prompt}\n\n${response}` : response);
    const raw = judge.coefficients.map((c) => dot(c, x)), draws = raw.map((v, i) => v - judge.reference[i]);
    const middle = mean(draws), sd = Math.sqrt(mean(draws.map((v) => (v - middle) ** 2)));
    const reward = rule === "mean" ? middle : Math.min(...draws), usual = judge.usual[rule];
    const numbers = {"latent distance": raw[0], disagreement: sd, length: [...response].length}, detectors = {};
    for (const [name, d] of Object.entries(judge.detectors)) {
      const score = d.scale ? Math.abs(numbers[name] - d.mean) / d.scale : numbers[name];
      const p = (1 + d.scores.length - left(d.scores, score)) / (d.scores.length + 1);
      detectors[name] = {score, p, alarm: p <= d.alpha};
    }
    return {reward, sd, percentile: (50 * (left(usual, reward) + left(usual, reward, true))) / usual.length,
      place: judge.axes.map((axis, k) => judge.origin[k] + dot(axis, x)), detectors};
  };

  const unknown = (why) => ({gold: null, why, counts: null});
  const gold = (prompt, response) => {
    const asked = data.state.prompts.find((p) => p.text === prompt.trim());
    if (!asked) return unknown("the prompt is not one of the world's");
    const kind = new Map([[data.empty, null]]);
    for (const name of data.state.attributes) for (const s of asked[name] || data.state.styles[name]) kind.set(s, name);
    const counts = Object.fromEntries(data.state.attributes.map((name) => [name, 0]));
    let rest = response.trim().split(/\s+/u).join(" ") + " ";
    while (rest) {
      let end = -1;
      while ((end = rest.indexOf(" ", end + 1)) >= 0 && !kind.has(rest.slice(0, end)));
      if (end < 0) return unknown("a sentence is not one of the world's");
      const name = kind.get(rest.slice(0, end));
      if (name) counts[name]++;
      rest = rest.slice(end + 1);
    }
    if (data.state.attributes.some((name, i) => counts[name] > data.state.most[i])) return unknown("more of one kind than the world knows");
    const worth = Object.entries(data.worth).reduce((sum, [name, [first, beyond]]) => sum + first * Math.min(counts[name], 1) + beyond * Math.max(counts[name] - 1, 0), 0);
    return {gold: worth, why: null, counts};
  };

  const judgeOf = (setting) => data.judges[setting.mechanism];
  return {
    live: false,
    state: async () => data.state,
    score: async (setting, seats, texts) => ({
      seats: seats.map((seat) => texts.map(([p, r]) => say(judgeOf(setting), seat.rule, p, r))),
      gold: texts.map(([p, r]) => gold(p, r)),
    }),
    path: async (setting, seats) => ({seats: seats.map((seat) => judgeOf(setting).paths[seat.rule].curves)}),
    point: async (setting, seat, inverse_beta, prompt) => {
      const {curves, points} = judgeOf(setting).paths[seat.rule];
      const point = points[curves.rows.findIndex((r) => r.inverse_beta === inverse_beta)];
      const at = Math.max(0, data.state.prompts.findIndex((p) => p.text === prompt));
      return {...point, samples: point.samples[at].map(([text, proxy, worth]) => ({text: data.texts[text], proxy, gold: worth}))};
    },
    result: async (row) => { if (row) results.push(row); return {rows: results}; },
  };
})();

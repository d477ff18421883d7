// Plays an ended run again from its log. `root.at` is the step that is shown; undefined: all.

const REPLAY_MS = 20000
const FRAME_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 100
const SPEEDS = { "half speed": 0.5, "normal speed": 1, "double speed": 2, "four times": 4 }
const APART = 0.06 // of the height of a chart, between two names

function showReplay(root, place, component) {
  place.hidden = !component.data.replay
  if (place.hidden) return
  root.component = component
  if (place.firstChild) return // the person's position stays when the page is drawn again
  const play = element("button", "Play")
  const slider = element("input")
  const speed = element("select")
  play.type = "button"
  Object.assign(slider, { type: "range", min: 0, max: 1000, value: 1000, ariaLabel: "Position" })
  speed.append(...Object.keys(SPEEDS).map((name) => new Option(name, name, false, SPEEDS[name] === 1)))
  speed.ariaLabel = "Pace"
  place.append(play, slider, speed)

  let last = 0 // when the position moved last
  let drawn = 0 // when it was drawn last
  let frames = 0
  let playing = false

  async function go(at, all) {
    root.at = at
    slider.value = at === undefined ? 1000 : (1000 * at) / lastStep(root.news)
    slider.ariaValueText = `step ${Math.round(at ?? lastStep(root.news))}`
    await draw(root, root.news, all, root.component)
  }

  function stop() {
    playing = false
    play.textContent = "Play"
  }

  async function frame(now) {
    if (!playing) return
    if (!root.isConnected) return stop()
    const end = lastStep(root.news)
    const at = root.at + ((now - last) / REPLAY_MS) * SPEEDS[speed.value] * end
    last = now
    if (at >= end) {
      stop()
      await go(undefined, true)
      return
    }
    root.at = at
    if (now - drawn >= FRAME_MS) {
      await go(at, frames++ % SMALL_EVERY === 0)
      drawn = performance.now()
    }
    requestAnimationFrame(frame)
  }

  async function begin() {
    if (!root.news) return false // nothing is drawn yet
    root.ranges ??= root.places.map((each) => each._fullLayout?.yaxis.range)
    root.history ??= await fetch(`${ownAddress(root.component.data.address)}&history=1`)
      .then((reply) => reply.json())
      .then((news) => news.history ?? [])
      .catch(() => []) // without the samples, the curves still play
    return true
  }

  play.onclick = async () => {
    if (playing) return stop()
    if (!(await begin())) return
    playing = true
    play.textContent = "Pause"
    root.at ??= 0
    last = performance.now()
    requestAnimationFrame(frame)
  }
  slider.oninput = async () => {
    stop()
    if (!(await begin())) return
    const share = slider.value / 1000
    await go(share === 1 ? undefined : share * lastStep(root.news), true)
  }
}

function stepOf(trace, index) {
  const step = trace.customdata?.[index]
  return Number.isFinite(step) ? step : trace.x[index]
}

function lastStep({ charts }) {
  const ends = charts.flatMap(({ figure }) => figure.data.map((trace) => (trace.x?.length ? stepOf(trace, trace.x.length - 1) : 0)))
  return Math.max(1, ...ends)
}

// What was known after step `at`.
function newsUntil(root, news, at) {
  if (at === undefined) return news
  const known = (root.history ?? []).filter(({ step }) => step <= at)
  const newest = known.at(-1)?.step
  return {
    ...news,
    samples: known.filter(({ step }) => step === newest),
    charts: news.charts.map((chart, index) => ({ ...chart, figure: figureUntil(chart.figure, at, root.ranges?.[index]) })),
  }
}

function figureUntil({ data, layout }, at, range) {
  const traces = data.map((trace) => traceUntil(trace, at))
  const edge = Math.max(0, ...traces.map((trace) => trace.x?.at(-1) ?? 0))
  const heights = namedHeights(traces, layout.yaxis.type === "log", range)
  return {
    data: traces,
    layout: {
      ...layout,
      yaxis: { ...layout.yaxis, ...(range ? { range: [...range], autorange: false } : {}) },
      shapes: layout.shapes?.filter(({ xref, x0 }) => xref === "paper" || x0 <= edge),
      annotations: layout.annotations
        ?.filter(({ xref, x, text }) => (xref === "paper" ? !(text in heights) || heights[text] !== undefined : x <= edge))
        .map((each) => (each.text in heights ? { ...each, y: heights[each.text] } : each)),
    },
  }
}

// Where the names stand: beside the last points, but not on each other.
function namedHeights(traces, log, range) {
  const ends = traces.map(({ name, y }) => [name, y?.findLast((each) => each !== null)])
  const known = ends.filter(([, y]) => y !== undefined).map(([name, y]) => [name, log ? Math.log10(y) : y])
  const apart = range ? APART * (range[1] - range[0]) : 0
  let below = -Infinity
  for (const each of known.sort((one, other) => one[1] - other[1])) below = each[1] = Math.max(each[1], below + apart)
  return { ...Object.fromEntries(ends.map(([name]) => [name, undefined])), ...Object.fromEntries(known) }
}

function traceUntil(trace, at) {
  const length = trace.x?.length ?? 0
  let count = length
  while (count && stepOf(trace, count - 1) > at) count -= 1
  if (count === length) return trace
  const cut = (value) => (Array.isArray(value) && value.length === length ? value.slice(0, count) : value)
  if (trace.z) return { ...trace, x: cut(trace.x), z: trace.z.map((row) => row.slice(0, Math.max(0, count - 1))) }
  const marker = trace.marker && Object.fromEntries(Object.entries(trace.marker).map(([name, value]) => [name, cut(value)]))
  return { ...trace, x: cut(trace.x), y: cut(trace.y), customdata: cut(trace.customdata), ...(marker ? { marker } : {}) }
}

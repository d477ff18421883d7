// Draws charts and, during a run, asks the studio for new points and updates the charts in place: no flicker, and the
// zoom stays. Text and background use the page's own colours, light or dark. Text is only ever set as text, not HTML.

const PAUSE_MS = 500
const EAGER_UPDATES = 4 // the first points appear as soon as possible
const SMALL_EVERY = 4 // small charts are redrawn at every fourth update
// After an update the page rests this many times as long as the update took: browser and training share a processor.
const REST = 4
const LONGEST_PAUSE_MS = 4000
const TRY_AGAIN_MS = 1000
const DOUBLE_CLICK_MS = 300 // a second click within this time is a double click, which resets the zoom
const NARROW_LETTERS = 15
const SILENT_SECONDS = { slow: 5, bad: 30 } // a worker sends a sign of life each second

let plotly = null

// The studio may be served under a path of another server.
function ownAddress(path) {
  return new URL(path, window.__streamlit.BACKEND_BASE_URL).href
}

function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = ownAddress("plotly.min.js")
    script.onload = () => resolve(window.Plotly)
    script.onerror = () => {
      plotly = null // the next update tries again
      reject(new Error("The chart library could not be loaded. Trying again."))
    }
    document.head.appendChild(script)
  })
  return plotly
}

function element(tag, text = "", className = "") {
  const made = document.createElement(tag)
  made.textContent = text
  made.className = className
  return made
}

const FOLDED_FIRST = ["Inside"] // groups that are folded until a person opens them

// A group of charts that folds; the browser remembers which ones a person has folded or opened.
function groupOf(name, opened) {
  const group = element("details", "", "live-group")
  const inside = element("div", "", "live-charts")
  group.append(element("summary", name), inside)
  const opensFirst = !FOLDED_FIRST.includes(name)
  group.open = opensFirst !== switched().includes(name)
  group.ontoggle = () => {
    const others = switched().filter((each) => each !== name)
    localStorage.setItem("cognate-folded", JSON.stringify(group.open === opensFirst ? others : [...others, name]))
    if (group.open) opened()
  }
  return group
}

function switched() {
  try {
    const names = JSON.parse(localStorage.getItem("cognate-folded"))
    return Array.isArray(names) ? names : []
  } catch {
    return [] // unreadable
  }
}

function showSamples(root, samples) {
  if (JSON.stringify(samples) === root.shownSamples) return
  root.shownSamples = JSON.stringify(samples)
  root.writes.hidden = !samples.length
  root.classList.toggle("writing", samples.length > 0)
  root.writes.replaceChildren(
    element("h3", "What it writes"),
    ...samples.map(({ question, text, right }) => {
      const sample = element("article", "", right === null ? "" : right ? "right" : "wrong")
      const answer = element("p", text)
      if (right !== null) answer.append(" ", element("span", right ? "✓ right" : "✗ wrong", "verdict"))
      sample.append(element("p", question, "question"), answer)
      return sample
    }),
  )
}

function placeOf(root, { title, help, alt, wide }) {
  const section = element("section", "", wide ? "wide" : "")
  const heading = element("h3", title)
  heading.title = help
  const place = element("div", "", "place")
  place.setAttribute("role", "figure") // not "img", which may hold no buttons
  place.setAttribute("aria-label", alt)
  section.append(heading, place)
  root.append(section)
  return place
}

function showFindings(root, findings, choose) {
  if (JSON.stringify(findings) === root.shownFindings) return // keep a button that may be being pressed
  root.shownFindings = JSON.stringify(findings)
  root.findings.replaceChildren(
    ...findings.map((finding, number) => {
      const item = element("li", "", finding.kind)
      const { first_step: first, last_step: last } = finding
      const where = first === last ? `at step ${first.toLocaleString("en")}` : `steps ${first.toLocaleString("en")} to ${last.toLocaleString("en")}`
      const head = element("p")
      head.append(element("strong", finding.title), `, ${where}. ${finding.cause}`)
      item.append(head)
      if (finding.advice) item.append(element("p", finding.advice))
      if (Object.keys(finding.overrides).length) {
        const button = element("button", "Apply to a new run")
        button.type = "button"
        button.onclick = () => choose(number)
        item.append(button)
      }
      return item
    }),
  )
}

async function draw(root, news, all, component) {
  root.news = news
  const { charts, findings, samples } = newsUntil(root, news, root.at)
  if (root.titles !== JSON.stringify(charts.map((chart) => chart.title))) {
    root.titles = JSON.stringify(charts.map((chart) => chart.title))
    root.replaceChildren()
    const groups = {}
    const room = ({ group }) => {
      if (!group) return root
      groups[group] ??= root.appendChild(groupOf(group, () => draw(root, root.news, true, component)))
      return groups[group].lastChild
    }
    root.places = charts.map((chart) => placeOf(room(chart), chart))
    root.findings = element("ul", "", "live-findings")
    root.findings.setAttribute("aria-label", "What the curves show")
    root.writes = element("aside", "", "live-writes")
    root.firstChild?.after(root.writes, root.findings)
    root.shownFindings = root.shownSamples = root.ranges = root.history = null
    all = true
  }
  showFigures(root, news)
  showSamples(root, samples ?? [])
  showFindings(root, findings, (number) => component.setTriggerValue("finding", number))
  const Plotly = await loadPlotly()
  const style = getComputedStyle(root)
  const config = { responsive: true, displaylogo: false, doubleClickDelay: DOUBLE_CLICK_MS, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] }
  charts.forEach(({ figure, wide }, index) => {
    const place = root.places[index]
    if ((!wide && !all) || place.closest("details:not([open])")) return
    const layout = {
      ...enlarged(root, figure.layout),
      autosize: true,
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { color: style.color, family: style.fontFamily, size: 14 },
      hoverlabel: { ...figure.layout.hoverlabel, bgcolor: style.getPropertyValue("--st-secondary-background-color"), font: { color: style.color } },
      modebar: { bgcolor: "transparent", color: "#808080", activecolor: style.color },
    }
    place.style.height = `${layout.height}px` // else a chart that was redrawn collapses when the window is resized
    const narrow = root.clientWidth < 620 && layout.annotations?.length
    if (narrow) {
      layout.margin = { ...layout.margin, r: 126 }
      layout.annotations = layout.annotations.map((each) => ({ ...each, text: shortened(each) }))
    }
    place.style.setProperty("--names", `${layout.margin.r}px`)
    Plotly.react(place, figure.data, layout, config)
    const clickable = wide && component.data.clickable
    place.classList.toggle("clickable", clickable)
    if (clickable && !place.listens) {
      place.listens = true
      place.on("plotly_click", ({ points, event }) => {
        clearTimeout(place.clicked)
        const step = points[0]?.customdata ?? points[0]?.x
        const line = points[0]?.curveNumber
        if (event.detail > 1 || !Number.isFinite(step) || presenting()) return
        const open = () => place.component.setTriggerValue("step", { step: Math.round(step), line })
        place.clicked = setTimeout(open, DOUBLE_CLICK_MS)
      })
    }
    place.component = component
  })
}

// Names beside the curves have little room: names with the same beginning are told apart by their ends. A name with an
// escaped character stays as it is.
function shortened({ text, xref }) {
  const fits = xref !== "paper" || text.length <= NARROW_LETTERS || text.includes("&")
  return fits ? text : `${text.slice(0, 5)}…${text.slice(6 - NARROW_LETTERS)}`
}

function showControls(place, controls, chosen, change) {
  place.change = change
  if (JSON.stringify(controls) === place.shown) return // redrawing would lose the focus
  place.shown = JSON.stringify(controls)
  place.replaceChildren(
    ...controls.map(({ name, label, choices }) => {
      const wrapped = element("label", label)
      const select = document.createElement("select")
      select.append(...choices.map((choice) => new Option(choice, choice, false, choice === chosen[name])))
      select.onchange = () => place.change(name, select.value)
      wrapped.append(select)
      return wrapped
    }),
  )
}

function ago(seconds) {
  return seconds < 1.5 ? "just now" : seconds < 90 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`
}

function light(words, help, state) {
  const shown = element("span", words, state)
  shown.title = help
  return shown
}

function showLights(place, alive, pageSeconds, connected) {
  const lights = []
  if (alive.elsewhere) {
    lights.push(light("Trainer: in another studio", "Another process trains; this one is read-only.", "unknown"))
  } else if (alive.trainer === null) {
    lights.push(light("Trainer: at rest", "Nothing is training this run now.", "unknown"))
  } else {
    const { slow, bad } = SILENT_SECONDS
    const silent = alive.trainer + (connected ? 0 : pageSeconds) // while disconnected, the page cannot know more
    const state = silent > bad ? "bad" : silent > slow ? "slow" : "good"
    lights.push(light(`Trainer: heard ${ago(silent)}`, "The training process sends a sign of life each second.", state))
  }
  if (!connected) lights.push(light("Log: not known", "The studio does not answer.", "unknown"))
  else lights.push(
    alive.log
      ? light(`Log: ${Math.round(alive.log)} s late`, "Figures wait to be written. Training continues.", "slow")
      : light("Log: up to date", "Figures are written at once.", "good"),
  )
  lights.push(
    connected
      ? light(`This page: ${ago(pageSeconds)}`, "When the studio last answered this page.", "good")
      : light(`This page: cut off, ${ago(pageSeconds)}`, "The studio does not answer. The page keeps trying.", "bad"),
  )
  if (alive.memory) lights.push(light(`Memory: ${alive.memory}`, "Memory that the training process uses now.", "plain"))
  place.replaceChildren(...lights)
}

// The chosen options that still exist.
function remembered(controls) {
  let look = {}
  try {
    look = JSON.parse(sessionStorage.getItem("cognate-look")) ?? {}
  } catch {
    // unreadable
  }
  return Object.fromEntries(
    controls.map(({ name, choices, first }) => [name, choices.includes(look[name]) ? look[name] : first]),
  )
}

export default function (component) {
  const { data, parentElement } = component
  const [root, problem, controls, lights, replay, present, picture] = [
    ...["charts", "problem", "controls", "lights", "replay", "present", "picture"],
  ].map((name) => parentElement.querySelector(`.live-${name}`))
  clearTimeout(root.timer)
  clearInterval(root.clock)
  const generation = (root.generation = (root.generation ?? 0) + 1)
  const current = () => generation === root.generation && root.isConnected
  const chosen = remembered(data.controls)
  // The charts that came with the page, until they are drawn or other options are chosen.
  let given = data.controls.every(({ name, first }) => chosen[name] === first) ? data : null
  let seen = ""
  let drawn = false // whether the chosen options are visible
  let updates = 0
  let turn = 0 // of the newest request; answers to older ones are ignored
  let heard = performance.now()
  let alive = null
  let connected = true

  showControls(controls, data.controls, chosen, (name, value) => {
    chosen[name] = value
    sessionStorage.setItem("cognate-look", JSON.stringify(chosen))
    given = null
    seen = ""
    drawn = false
    root.at = undefined // other options have other axes
    root.ranges = null
    update()
  })

  function tick() {
    if (alive && data.going) showLights(lights, alive, (performance.now() - heard) / 1000, connected)
  }

  async function answer() {
    const asked = { ...chosen, after: seen }
    const reply = await fetch(`${ownAddress(data.address)}&${new URLSearchParams(asked)}`)
    const news = await reply.json().catch(() => ({})) // not JSON if another server answers
    if (!reply.ok || !news.alive) throw new Error(news.problem ?? "The studio does not answer as expected. Reload the page.")
    return news
  }

  function cutOff(error) {
    const told = error instanceof TypeError ? new Error("The studio cannot be reached. Trying again.") : error
    throw Object.assign(told, { cutOff: true })
  }

  async function update() {
    clearTimeout(root.timer)
    turn += 1
    const mine = turn
    const newest = () => current() && mine === turn
    let pause = PAUSE_MS
    try {
      if (given || !document.hidden) {
        const news = given ?? (await answer().catch(cutOff))
        if (!newest()) return
        const begun = performance.now()
        if (!given) {
          heard = begun
          alive = news.alive
          connected = true
        }
        if (news.charts) {
          await draw(root, news, updates % SMALL_EVERY === 0 || !drawn, component)
          if (!newest()) return
          seen = news.seen
          given = null
          drawn = true
          updates += 1
        }
        if (updates > EAGER_UPDATES) pause = Math.max(pause, Math.min((performance.now() - begun) * REST, LONGEST_PAUSE_MS))
      }
      problem.textContent = ""
    } catch (error) {
      if (!newest()) return
      if (error.cutOff) connected = false
      pause = TRY_AGAIN_MS
      problem.textContent = error.message
    }
    tick()
    if (data.going || !drawn) root.timer = setTimeout(update, pause) // until the chosen options are visible
  }

  showReplay(root, replay, component)
  hidePresent(root)
  showPresent(root, [present, picture], component)
  lights.replaceChildren()
  lights.hidden = !data.going
  root.clock = setInterval(tick, 1000)
  update()
  return () => {
    clearTimeout(root.timer)
    clearInterval(root.clock)
    hidePresent(root)
  }
}

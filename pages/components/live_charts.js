// Draws a run's charts and, while it trains, asks the studio for new points and changes the charts in place:
// no flicker, and zoom stays. Colours of text and ground are the page's own, light or dark.

const SHORTEST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 6000
const EAGER_UPDATES = 4 // the first points come as soon as they can
const SMALL_EVERY = 4 // the small charts follow at every fourth update
// After an update the page rests at least this many times as long as the update took, so that watching a run does not
// slow it: both share the same processor.
const REST = 120

let plotly = null

function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = new URL("/plotly.min.js", window.location.origin).href
    script.onload = () => resolve(window.Plotly)
    script.onerror = () => {
      plotly = null // the next update tries again
      reject(new Error("The chart library could not be loaded. Reload the page."))
    }
    document.head.appendChild(script)
  })
  return plotly
}

function placeOf(root, { title, help, alt, wide }) {
  const section = document.createElement("section")
  section.className = wide ? "wide" : ""
  const heading = document.createElement("h3")
  heading.textContent = title
  heading.title = help
  const place = document.createElement("div")
  place.setAttribute("role", "img")
  place.setAttribute("aria-label", alt)
  section.append(heading, place)
  root.append(section)
  return place
}

async function draw(root, charts, all) {
  root.places ??= charts.map((chart) => placeOf(root, chart))
  const Plotly = await loadPlotly()
  const style = getComputedStyle(root)
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] }
  charts.forEach(({ figure, wide }, index) => {
    if (!wide && !all) return
    const layout = {
      ...figure.layout,
      autosize: true,
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { color: style.color, family: style.fontFamily, size: 14 },
      modebar: { bgcolor: "transparent", color: "#808080", activecolor: style.color },
    }
    Plotly.react(root.places[index], figure.data, layout, config)
  })
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".live-charts")
  const problem = parentElement.querySelector(".live-problem")
  clearTimeout(root.timer)
  const generation = (root.generation = (root.generation ?? 0) + 1)
  let seen = data.seen
  let updates = 0

  async function update() {
    let took = 0
    try {
      if (!document.hidden) {
        const reply = await fetch(`${data.address}&after=${seen}`)
        if (!reply.ok) throw new Error("The studio does not answer as expected. Reload the page.")
        const news = await reply.json()
        const start = performance.now()
        if (generation === root.generation && news.charts) {
          await draw(root, news.charts, updates % SMALL_EVERY === 0)
          seen = news.seen
          updates += 1
        }
        took = performance.now() - start
      }
      problem.textContent = ""
    } catch (error) {
      problem.textContent = error instanceof TypeError ? "The studio cannot be reached. Trying again." : error.message
    }
    if (generation === root.generation && root.isConnected) {
      const rest = updates <= EAGER_UPDATES ? 0 : Math.min(took * REST, LONGEST_PAUSE_MS)
      root.timer = setTimeout(update, Math.max(SHORTEST_PAUSE_MS, rest))
    }
  }

  draw(root, data.charts, true)
    .then(() => {
      if (data.address && generation === root.generation) root.timer = setTimeout(update, SHORTEST_PAUSE_MS)
    })
    .catch((error) => (problem.textContent = error.message))
  return () => clearTimeout(root.timer)
}

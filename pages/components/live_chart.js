// Draws a Plotly figure and, when new data comes, changes it in place: no flicker, and zoom stays.
// Colours of text and ground are the page's own, light or dark.

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

export default function ({ data, parentElement }) {
  const place = parentElement.querySelector(".live-chart")
  const { figure, alt } = data
  place.setAttribute("aria-label", alt)
  place.style.height = `${figure.layout.height}px`
  const layout = {
    ...figure.layout,
    autosize: true,
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: {
      color: getComputedStyle(place).color,
      family: getComputedStyle(place).fontFamily,
      size: 14,
    },
  }
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] }
  loadPlotly()
    .then((Plotly) => place.isConnected && Plotly.react(place, figure.data, layout, config))
    .catch((error) => (place.textContent = error.message))
}

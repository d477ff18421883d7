// Draws the report's charts in the colours of the page: light, dark, or for printing.

const charts = JSON.parse(document.getElementById("charts").textContent)
const places = [...document.querySelectorAll(".chart")]
const dark = matchMedia("(prefers-color-scheme: dark)")
const NARROW = 560 // pixels; below this, the names are under a chart, not beside it
const INK_ON_PAPER = "#000000"

// The palette's first blue is hard to read on a dark background: replace it by the bright one.
function onDark(figure) {
  return JSON.parse(JSON.stringify(figure).replaceAll("#0072B2", "#56B4E9").replaceAll("rgba(0,114,178,0)", "rgba(86,180,233,0)"))
}

function draw(printing) {
  const style = getComputedStyle(document.body)
  charts.forEach((chart, index) => {
    const { data, layout } = dark.matches && !printing ? onDark(chart) : chart
    const narrow = places[index].clientWidth < NARROW
    const named = new Set(data.map(({ name }) => name))
    const marks = (layout.annotations ?? []).filter(({ text }) => !named.has(text)) // of lines that are not curves
    const under = narrow && layout.annotations?.length
      ? {
          annotations: marks.map((mark) => ({ ...mark, xanchor: "right", xshift: 0, yanchor: "top" })),
          showlegend: true,
          legend: { orientation: "h", y: -0.3 },
          margin: { ...layout.margin, r: 8, b: 96 },
        }
      : {}
    Plotly.react(places[index], data, {
      ...layout,
      ...under,
      autosize: true,
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { color: printing ? INK_ON_PAPER : style.color, family: style.fontFamily, size: 14 },
    }, { displayModeBar: false, responsive: true })
  })
}

draw(false)
dark.addEventListener("change", () => draw(false))
addEventListener("resize", () => draw(false))
addEventListener("beforeprint", () => draw(true))
addEventListener("afterprint", () => draw(false))

// Shows a run to a room in full screen and on paper, and saves one picture of it to show to others.

const LARGE = 1.7 // text in full screen
const PAPER = 680 // pixels that fit the width of A4 and of Letter
const PICTURE = { width: 1200, height: 675, edge: 48, column: 350, scale: 2 }

function presenting() {
  return document.fullscreenElement === document.documentElement // whole, so that it outlives the change to another run
}

// The main chart and what the model writes, in large type. The key P does it, too; arrow keys go to the next run.
function showPresent(root, [present, picture], component) {
  const { title } = component.data
  root.closest(".live-root").querySelector(".live-title").textContent = title ?? ""
  present.hidden = picture.hidden = !title
  present.onclick = () => (presenting() ? document.exitFullscreen() : document.documentElement.requestFullscreen().catch(() => {}))
  picture.onclick = () => root.news && savePicture(root, title)
  root.onKey = ({ key, target, ctrlKey, metaKey, altKey }) => {
    if (ctrlKey || metaKey || altKey || present.hidden || target.closest?.("input, textarea, select, [contenteditable]")) return
    const onward = { ArrowLeft: -1, ArrowRight: 1 }[key]
    if (key === "p") present.click()
    else if (onward && presenting()) component.setTriggerValue("onward", onward)
  }
  root.onScreen = () => root.news && draw(root, root.news, true, component)
  document.addEventListener("keydown", root.onKey)
  document.addEventListener("fullscreenchange", root.onScreen)
  addEventListener("beforeprint", (root.onPaper = () => resize(root, PAPER)))
  addEventListener("afterprint", (root.onWindow = () => resize(root, null)))
}

function hidePresent(root) {
  document.removeEventListener("keydown", root.onKey)
  document.removeEventListener("fullscreenchange", root.onScreen)
  removeEventListener("beforeprint", root.onPaper)
  removeEventListener("afterprint", root.onWindow)
}

function resize(root, width) {
  for (const place of root.places ?? []) if (place.data) window.Plotly.relayout(place, { width, autosize: width === null })
}

// In full screen, the page's own figures are out of sight.
function showFigures(root, { figures }) {
  root.closest(".live-root").querySelector(".live-figures").replaceChildren(
    ...(presenting() ? figures ?? [] : []).map(([label, value]) => {
      const figure = element("p", "", "figure")
      figure.append(element("strong", value), element("span", label))
      return figure
    }),
  )
}

function enlarged(root, layout) {
  if (!presenting()) return layout
  const larger = (font) => ({ ...font, size: (font?.size ?? 14) * LARGE })
  const axis = (each) => ({ ...each, tickfont: larger(each?.tickfont), title: { ...each?.title, font: larger(each?.title?.font) } })
  const { l, r, t, b } = layout.margin
  return {
    ...layout,
    height: Math.max(300, innerHeight - root.getBoundingClientRect().top - 90), // all of it on the screen
    margin: { l: l * LARGE, r: r * LARGE, t, b: b * LARGE },
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
    annotations: layout.annotations?.map((each) => ({ ...each, font: larger(each.font) })),
  }
}

// The curve, the figures and what the model writes, as they are on the page.
async function savePicture(root, title) {
  const { width, height, edge, column, scale } = PICTURE
  const { samples = [], figures = [] } = newsUntil(root, root.news, root.at)
  const style = getComputedStyle(root)
  const colour = (name) => style.getPropertyValue(`--st-${name}-color`)
  const canvas = Object.assign(element("canvas"), { width: width * scale, height: height * scale })
  const pen = canvas.getContext("2d")
  pen.scale(scale, scale)
  pen.fillStyle = colour("background")
  pen.fillRect(0, 0, width, height)
  const write = (text, x, y, size, { most = 1, room = width - edge - x, weight = 400, ink = colour("text") } = {}) => {
    pen.font = `${weight} ${size}px ${style.fontFamily}`
    pen.fillStyle = ink
    const lines = wrapped(pen, text, room, most)
    lines.forEach((line, number) => pen.fillText(line, x, y + number * size * 1.35))
    return y + lines.length * size * 1.35
  }
  write(title, edge, edge + 28, 36, { weight: 650, room: width - 2 * edge - 200 })
  pen.textAlign = "right"
  write("Cognate Studio", width - edge, edge + 26, 18, { ink: colour("gray-text"), room: 200 })
  pen.textAlign = "left"
  const top = edge + 60
  const bottom = height - edge - (figures.length ? 92 : 0)
  const wide = width - 2 * edge - (samples.length ? column + 32 : 0)
  const curve = new Image()
  const Plotly = await loadPlotly()
  curve.src = await Plotly.toImage(root.places[0], { format: "png", width: wide, height: bottom - top - 16, scale })
  await curve.decode()
  pen.drawImage(curve, edge, top, wide, bottom - top - 16)
  let y = top + 20
  for (const { question, text, right } of samples) {
    if (y > bottom - 90) break
    const x = width - edge - column
    const begun = y - 16
    const verdict = right === null ? "" : right ? "✓ right" : "✗ wrong"
    y = write(question, x + 16, y, 15, { most: 3, ink: colour("gray-text") })
    y = write(text, x + 16, y + 4, 18, { most: 3 })
    if (verdict) y = write(verdict, x + 16, y + 2, 15, { weight: 600 })
    pen.fillStyle = right === null ? colour("border") : style.getPropertyValue(right ? "--good" : "--bad")
    pen.fillRect(x, begun, 3, y - begun - 12)
    y += 18
  }
  const step = (width - 2 * edge) / figures.length
  figures.forEach(([label, value], number) => {
    write(value, edge + number * step, height - edge - 42, 24, { weight: 600, room: step - 12 })
    write(label, edge + number * step, height - edge - 16, 14, { most: 2, room: step - 12, ink: colour("gray-text") })
  })
  const link = element("a")
  link.download = `${title.replace(/[^\p{L}\p{N} ._-]/gu, "_")}.png`
  link.href = canvas.toDataURL("image/png")
  link.click()
}

// The lines of a text, at most so many; what does not fit is left out and marked.
function wrapped(pen, text, room, most) {
  const fits = (line) => pen.measureText(line).width <= room
  const lines = [""]
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const longer = `${lines.at(-1)} ${word}`.trim()
    if (fits(longer) || !lines.at(-1)) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  if (lines.length > most) lines.splice(most - 1, lines.length, lines.slice(most - 1).join(" "))
  return lines.map((line) => {
    let end = line
    while (end && !fits(end === line ? line : `${end}…`)) end = end.slice(0, -1)
    return end === line ? line : `${end}…`
  })
}

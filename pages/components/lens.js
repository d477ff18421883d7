// Colours words by ponder steps or by memory, and describes the chosen word. Text is only ever set as text, not HTML.

// The opacity of the strongest colour keeps words readable (4.5 : 1) on a light and on a dark background.
const BLUE = { light: [0, 114, 178, 0.75], dark: [0, 114, 178, 0.75] }
const ORANGE = { light: [230, 159, 0, 0.75], dark: [230, 159, 0, 0.45] }

const MODES = {
  thinking: {
    label: "How long it thought",
    has: (word) => word.ponder_steps !== null,
    colour: BLUE,
    value: (word) => word.ponder_steps,
    scale: (words) => {
      const steps = words.map((word) => word.ponder_steps)
      return [Math.min(...steps), Math.max(...steps)]
    },
    legend: ([low, high]) =>
      low === high
        ? `Every word took ${low} ponder step${low === 1 ? "" : "s"}: the model treats all words alike.`
        : "Ponder steps before each word:",
    marks: ([low, high]) => Array.from({ length: high - low + 1 }, (_, n) => [low + n, `${low + n}`]),
  },
  memory: {
    label: "How much memory it used",
    has: (word) => word.recall !== null,
    colour: ORANGE,
    value: (word) => word.recall,
    scale: (words) => [0, Math.max(0.001, ...words.map((word) => word.recall))],
    legend: ([, high]) =>
      high <= 0.001 ? "It hardly looked at its notes: there are none yet, or none helped." : "How much it used its notes:",
    marks: ([, high]) => (high <= 0.001 ? [] : [0, 0.5, 1].map((part) => [part * high, percent(part * high)])),
  },
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
}

function shade([red, green, blue, strongest], value, [low, high]) {
  const strength = high > low ? (value - low) / (high - low) : 0
  return `rgba(${red},${green},${blue},${(strength * strongest).toFixed(3)})`
}

function quoted(text) {
  const line = text.replace(/\n/g, "⏎")
  return `“${line.trim() || line}”`
}

function element(tag, text, className = "") {
  const made = document.createElement(tag)
  made.textContent = text
  made.className = className
  return made
}

export default function ({ data, parentElement }) {
  const words = data.words
  const ground = data.dark ? "dark" : "light"
  const root = parentElement.querySelector(".lens")
  const [modes, legend, text, about] = ["modes", "legend", "text", "word"].map((name) => root.querySelector(`.${name}`))
  const offered = Object.keys(MODES).filter((name) => words.length && words.every(MODES[name].has))
  const isSameText = root.words && JSON.stringify(root.words) === JSON.stringify(words)
  root.words = words
  let chosen = -1

  text.replaceChildren(
    ...words.map((word, index) => {
      const span = element("span", word.text, word.written ? "" : "prompt")
      span.setAttribute("role", "option")
      span.setAttribute("aria-selected", "false")
      span.id = `word-${index}`
      if (!word.text.trim()) span.setAttribute("aria-label", word.text.includes("\n") ? "line break" : "space")
      span.onclick = () => choose(index)
      return span
    }),
  )
  const spans = [...text.children]
  modes.replaceChildren(
    ...offered.map((name) => {
      const button = element("button", MODES[name].label)
      button.type = "button"
      button.dataset.mode = name
      button.onclick = () => colour(name)
      return button
    }),
  )

  function colour(name) {
    root.mode = name
    const mode = MODES[name]
    const scale = mode.scale(words)
    spans.forEach((span, index) => {
      span.style.background = shade(mode.colour[ground], mode.value(words[index]), scale)
    })
    for (const button of modes.children) button.setAttribute("aria-pressed", String(button.dataset.mode === name))
    legend.replaceChildren(`${mode.legend(scale)} `)
    if (scale[0] === scale[1]) return
    for (const [value, label] of mode.marks(scale)) {
      const mark = element("span", label)
      mark.style.background = shade(mode.colour[ground], value, scale)
      legend.append(mark)
    }
  }

  function choose(index) {
    if (!words[index]) return
    spans[chosen]?.classList.remove("chosen")
    spans[chosen]?.setAttribute("aria-selected", "false")
    spans.forEach((span) => span.classList.remove("source"))
    chosen = root.chosen = index
    const word = words[index]
    spans[index].classList.add("chosen")
    spans[index].setAttribute("aria-selected", "true")
    spans[index].scrollIntoView({ block: "nearest" })
    text.setAttribute("aria-activedescendant", spans[index].id)
    const facts = [`${quoted(word.text)}: the model gave it ${percent(word.probability)}`]
    if (word.ponder_steps !== null) {
      facts.push(`thought for ${word.ponder_steps} ponder step${word.ponder_steps === 1 ? "" : "s"}`)
    }
    if (word.recall !== null) facts.push(`memory use ${percent(word.recall)}`)
    about.replaceChildren(element("div", `${facts.join(", ")}.`))
    if (word.recall === null) return
    if (!word.notes.length) {
      about.append(element("div", "It looked at no notes: there are none yet."))
      return
    }
    about.append(element("div", "Notes that it looked at (notes of this text are underlined):"))
    const list = document.createElement("ul")
    for (const note of word.notes) {
      const before = words.slice(Math.max(0, note.place - 4), note.place + 1)
      const origin = note.place === null ? "an earlier text" : quoted(before.map((each) => each.text).join(""))
      list.append(element("li", `${quoted(note.word)}, ${percent(note.share)} of its attention, from ${origin}`))
      if (note.place !== null) spans[note.place].classList.add("source")
    }
    about.append(list)
  }

  text.onkeydown = (event) => {
    const last = words.length - 1
    const next = {
      ArrowRight: chosen + 1,
      ArrowDown: chosen + 1,
      ArrowLeft: chosen - 1,
      ArrowUp: chosen - 1,
      Home: 0,
      End: last,
    }[event.key]
    if (next === undefined) return
    event.preventDefault()
    choose(Math.min(last, Math.max(0, next)))
  }

  about.textContent = words.length ? "Choose a word to see more." : ""
  if (offered.length) colour(isSameText && offered.includes(root.mode) ? root.mode : offered[0])
  if (isSameText && root.chosen !== undefined) choose(root.chosen)
  else delete root.chosen
}

// Colours words by ponder steps or by memory, and tells of the word that a person chose. Text is only ever set as text.

const BLUE = [0, 114, 178]
const ORANGE = [230, 159, 0]
const STRONGEST = 0.75 // opacity of the strongest colour, so that the words stay readable in light and dark

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
        ? `Every word took ${low} ponder steps: the model treats all alike.`
        : "Ponder steps before each word:",
    marks: ([low, high]) => Array.from({ length: high - low + 1 }, (_, n) => [low + n, `${low + n}`]),
  },
  memory: {
    label: "What it took from memory",
    has: (word) => word.recall !== null,
    colour: ORANGE,
    value: (word) => word.recall,
    scale: (words) => [0, Math.max(0.001, ...words.map((word) => word.recall))],
    legend: ([, high]) =>
      high <= 0.001 ? "Nothing was read from memory: the text is shorter than a segment." : "Taken from memory's notes:",
    marks: ([, high]) => (high <= 0.001 ? [] : [0, 0.5, 1].map((part) => [part * high, percent(part * high)])),
  },
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
}

function shade(colour, value, [low, high]) {
  const strength = high > low ? (value - low) / (high - low) : 0
  return `rgba(${colour.join(",")},${(strength * STRONGEST).toFixed(3)})`
}

function quoted(text) {
  return `“${text.replace(/\n/g, "⏎").trim() || text.replace(/\n/g, "⏎")}”`
}

function element(tag, text, className) {
  const made = document.createElement(tag)
  made.textContent = text
  if (className) made.className = className
  return made
}

export default function ({ data, parentElement }) {
  const words = data.words
  const [modes, legend, text, about] = ["modes", "legend", "text", "word"].map((name) =>
    parentElement.querySelector(`.lens .${name}`),
  )
  const offered = Object.keys(MODES).filter((name) => words.length && words.every(MODES[name].has))
  let chosen = -1

  text.replaceChildren(
    ...words.map((word, index) => {
      const span = element("span", word.text, word.written ? "" : "prompt")
      span.setAttribute("role", "option")
      span.id = `word-${index}`
      span.onclick = () => choose(index)
      return span
    }),
  )
  const spans = [...text.children]
  modes.replaceChildren(
    ...offered.map((name) => {
      const button = element("button", MODES[name].label)
      button.type = "button"
      button.setAttribute("role", "radio")
      button.dataset.mode = name
      button.onclick = () => colour(name)
      return button
    }),
  )

  function colour(name) {
    const mode = MODES[name]
    const scale = mode.scale(words)
    spans.forEach((span, index) => (span.style.background = shade(mode.colour, mode.value(words[index]), scale)))
    for (const button of modes.children) button.setAttribute("aria-checked", String(button.dataset.mode === name))
    legend.replaceChildren(`${mode.legend(scale)} `)
    if (scale[0] === scale[1]) return
    for (const [value, label] of mode.marks(scale)) {
      const mark = element("span", label)
      mark.style.background = shade(mode.colour, value, scale)
      legend.append(mark)
    }
  }

  function choose(index) {
    spans[chosen]?.classList.remove("chosen")
    spans.forEach((span) => span.classList.remove("source"))
    chosen = index
    const word = words[index]
    spans[index].classList.add("chosen")
    text.setAttribute("aria-activedescendant", spans[index].id)
    const facts = [`${quoted(word.text)}: the model gave it ${percent(word.probability)}`]
    if (word.ponder_steps !== null) {
      facts.push(`thought for ${word.ponder_steps} ponder step${word.ponder_steps === 1 ? "" : "s"}`)
    }
    if (word.recall !== null) facts.push(`took ${percent(word.recall)} from memory`)
    about.replaceChildren(element("div", `${facts.join(", ")}.`))
    if (word.recall === null) return
    if (!word.notes.length) {
      about.append(element("div", "It read no note: none was written yet, or none fitted."))
      return
    }
    about.append(element("div", "Notes that it looked at (underlined in the text):"))
    const list = document.createElement("ul")
    for (const note of word.notes) {
      const around = note.place === null ? "an earlier text" : quoted(words.slice(Math.max(0, note.place - 4), note.place + 1).map((each) => each.text).join(""))
      list.append(element("li", `${quoted(note.word)}, ${percent(note.share)} of the looking, from ${around}`))
      if (note.place !== null) spans[note.place].classList.add("source")
    }
    about.append(list)
  }

  text.onkeydown = (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!move) return
    event.preventDefault()
    choose(Math.min(words.length - 1, Math.max(0, chosen + move)))
  }

  if (offered.length) colour(offered[0])
  about.textContent = words.length ? "Choose a word to see more." : ""
}

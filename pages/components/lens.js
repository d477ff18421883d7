// Colours words by ponder steps, memory, surprise or attention, and describes the chosen word. Text is only ever set as
// text, not HTML.

// The opacity of the strongest colour keeps words readable (4.5 : 1) on a light and on a dark background.
const BLUE = { light: [0, 114, 178, 0.75], dark: [0, 114, 178, 0.75] }
const VERMILION = { light: [213, 94, 0, 0.75], dark: [213, 94, 0, 0.75] }
const ORANGE = { light: [230, 159, 0, 0.75], dark: [230, 159, 0, 0.45] }

const MOST_LOOKS = 4 // words that are named

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
  surprise: {
    label: "How much it surprised it",
    has: () => true,
    colour: VERMILION,
    value: (word) => nats(word.probability),
    scale: () => [0, nats(0.001)],
    legend: () => "How likely it found each word:",
    marks: () => [1, 0.1, 0.01, 0.001].map((share) => [nats(share), `${100 * share} %`]),
  },
  attention: {
    label: "Where it looked",
    has: () => false, // it is shown alone
    colour: BLUE,
    value: (_, index, looked) => looked[index + 1] ?? 0,
    scale: (_, looked) => [0, Math.max(0.001, ...looked.slice(1))],
    legend: () => "Share of its attention:",
    marks: ([, high]) => [0, 0.5, 1].map((part) => [part * high, percent(part * high)]),
  },
}

function nats(probability) {
  return -Math.log(Math.max(probability, 1e-9))
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
}

function shade([red, green, blue, strongest], value, [low, high]) {
  const strength = high > low ? Math.min(1, (value - low) / (high - low)) : 0
  return `rgba(${red},${green},${blue},${(strength * strongest).toFixed(3)})`
}

// What the model expected in place of a word, as the rest of a sentence about it.
function expectation({ text, expected, expected_probability: probability }) {
  if (expected === text) return "it was its first choice"
  const what = expected === "" ? "the end of the text" : expected.includes("\uFFFD") ? "part of another letter" : quoted(expected)
  return `it expected ${what} (${percent(probability)})`
}

function chance(share) {
  return share < 0.0005 ? "less than 0.1 %" : percent(share)
}

function quoted(text) {
  if (text && !text.replaceAll(" ", "")) return "a space"
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
  const looks = data.looks?.map((row) => row.map((thousandths) => thousandths / 1000))
  const offered = looks ? ["attention"] : Object.keys(MODES).filter((name) => words.length && words.every(MODES[name].has))
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
      span.title = `It gave this ${chance(word.probability)}; ${expectation(word)}.`
      span.onclick = () => choose(index)
      return span
    }),
  )
  const spans = [...text.children]
  modes.replaceChildren(
    ...(offered.length > 1 ? offered : []).map((name) => {
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
    const looked = looks?.[chosen] ?? []
    const scale = mode.scale(words, looked)
    spans.forEach((span, index) => {
      span.style.background = shade(mode.colour[ground], mode.value(words[index], index, looked), scale)
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

  function choose(index, scrolls = true) {
    if (!words[index]) return
    spans[chosen]?.classList.remove("chosen")
    spans[chosen]?.setAttribute("aria-selected", "false")
    spans.forEach((span) => span.classList.remove("source"))
    chosen = root.chosen = index
    const word = words[index]
    spans[index].classList.add("chosen")
    spans[index].setAttribute("aria-selected", "true")
    if (scrolls) spans[index].scrollIntoView({ block: "nearest" })
    text.setAttribute("aria-activedescendant", spans[index].id)
    if (looks) {
      colour("attention")
      describeLooks(word, looks[index])
      return
    }
    const facts = [`${quoted(word.text)}: the model gave it ${chance(word.probability)}`]
    if (word.ponder_steps !== null) {
      facts.push(`thought for ${word.ponder_steps} ponder step${word.ponder_steps === 1 ? "" : "s"}`)
    }
    if (word.recall !== null) facts.push(`memory use ${percent(word.recall)}`)
    about.replaceChildren(element("div", `${facts.join(", ")}; ${expectation(word)}.`))
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

  function describeLooks(word, looked) {
    const list = document.createElement("ul")
    const most = looked.map((share, place) => [share, place]).sort((a, b) => b[0] - a[0])
    for (const [share, place] of most.slice(0, MOST_LOOKS)) {
      const what = place ? quoted(words[place - 1].text) : "the beginning of the text"
      list.append(element("li", `${what}, ${percent(share)}`))
    }
    about.replaceChildren(element("div", `To predict ${quoted(word.text)}, it looked most at:`), list)
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
  const first = offered.includes(data.first) ? data.first : offered[0]
  if (offered.length) colour(isSameText && offered.includes(root.mode) ? root.mode : first)
  if (isSameText && root.chosen !== undefined) choose(root.chosen, !looks)
  else if (looks) choose(words.length - 1, false)
  else delete root.chosen
}

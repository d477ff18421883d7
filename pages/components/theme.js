// Tells the studio when the colours of the page are others than it was drawn with. Colours that CSS has are not
// concerned.

const WAIT_MS = 1000 // while a dialog is open: drawing the page again would close it

export default function ({ data, parentElement, setTriggerValue }) {
  const probe = parentElement.querySelector("span")
  // What changes its colour within a moment says so.
  Object.assign(probe.style, { color: "var(--st-text-color)", transition: "color 1ms", position: "absolute" })
  let timer = null
  function tell() {
    clearTimeout(timer)
    if (document.querySelector("[role=dialog]")) timer = setTimeout(tell, WAIT_MS)
    else setTriggerValue("change", true)
  }
  probe.addEventListener("transitionend", tell)
  const [red] = getComputedStyle(probe).color.match(/\d+/) // a grey, or nearly: light on a dark ground
  probe.told = data.dark !== red > 127 && !probe.told // not for ever, should the studio not take it up
  if (probe.told) tell() // it changed between the question for this page and now
  return () => {
    clearTimeout(timer)
    probe.removeEventListener("transitionend", tell)
  }
}

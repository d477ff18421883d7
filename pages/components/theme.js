// Tells the studio when the colours of the page are others than it was drawn with. Colours that CSS has are not
// concerned.

const WAIT_MS = 1000 // while a dialog is open: drawing the page again would close it
const MOST_TOLD = 5

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
  // It changed between the question for this page and now. The next question may be as old: tell it again, not for ever.
  probe.told = data.dark === red > 127 ? 0 : (probe.told ?? 0) + 1
  if (probe.told && probe.told <= MOST_TOLD) timer = setTimeout(tell, (probe.told - 1) * WAIT_MS)
  return () => {
    clearTimeout(timer)
    probe.removeEventListener("transitionend", tell)
  }
}

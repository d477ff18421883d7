// Tells the studio when the page was drawn with another theme than it has now. CSS colours follow by themselves.

const WAIT_MS = 1000 // retry interval while a dialog is open: redrawing the page would close it
const MOST_TOLD = 5

export default function ({ data, parentElement, setTriggerValue }) {
  const probe = parentElement.querySelector("span")
  // A transition reports each change of colour by an event.
  Object.assign(probe.style, { color: "var(--st-text-color)", transition: "color 1ms", position: "absolute" })
  probe.dataset.drawn = data.dark ? "dark" : "light"
  let timer = null
  function tell() {
    clearTimeout(timer)
    if (document.querySelector("[role=dialog]")) timer = setTimeout(tell, WAIT_MS)
    else setTriggerValue("change", true)
  }
  probe.addEventListener("transitionend", tell)
  const [red] = getComputedStyle(probe).color.match(/\d+/) // nearly grey; bright on a dark background
  // The theme changed after this page was requested. The next request may be outdated, too: repeat, but not forever.
  probe.told = data.dark === red > 127 ? 0 : (probe.told ?? 0) + 1
  if (probe.told && probe.told <= MOST_TOLD) timer = setTimeout(tell, (probe.told - 1) * WAIT_MS)
  return () => {
    clearTimeout(timer)
    probe.removeEventListener("transitionend", tell)
  }
}

package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
	"github.com/pointsapp/pointsapp/internal/browser"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

var (
	screenshots = flag.String("screenshots", "", "folder for the pictures that TestScreenshots and TestDoc take")
	history     = flag.Duration("history", 30*time.Minute, "time that the charts of TestScreenshots show")
)

// A tab is a page that is open.
type tab struct {
	t   *testing.T
	ctx context.Context // chromedp's handle of the page

	mu           sync.Mutex
	scriptErrors []string
}

func openTab(t *testing.T, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser.Start(t))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900))) // the browser lives as long as this context
	p := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		if event, ok := event.(*runtime.EventExceptionThrown); ok {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.scriptErrors = append(p.scriptErrors, event.ExceptionDetails.Text)
		}
	}))
	p.run(chromedp.Navigate(url))
	return p
}

// try runs one action, with a timeout of its own: a whole test takes long on a slow machine.
func try[T any](p *tab, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	return chromedp.Run(ctx, action)
}

func (p *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for _, step := range steps {
		_, err := try(p, step)
		require.NoError(p.t, err)
	}
}

// evaluate returns the value of a JavaScript expression. The page changes at any time: what is late, or true for a
// moment only, on a slow machine needs until.
func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := try(p, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return value
}

// until waits until an expression of JavaScript is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	if _, err := try(p, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience))); err != nil {
		page, _ := try(p, chromedp.Evaluate[string](`document.body.innerText`))
		require.NoError(p.t, err, "%s\n\nThe page:\n%s", expression, page)
	}
}

// untilText waits until the text of the element with an ID matches a regular expression of JavaScript.
func (p *tab) untilText(id, pattern string) {
	p.t.Helper()
	p.until(`new RegExp(` + strconv.Quote(pattern) + `).test(` + textOf(id) + `)`)
}

// untilEmpty waits until an expression of JavaScript is an empty list of texts.
func (p *tab) untilEmpty(list, where string) {
	p.t.Helper()
	if _, err := try(p, chromedp.Poll[bool](list+`.length === 0`, chromedp.WithPollingTimeout(patience))); err != nil {
		require.NoError(p.t, err, "%s: %q", where, evaluate[[]string](p, list))
	}
}

// click clicks a button once it is enabled: those of the controls are disabled while the page is stale.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.until(`(() => {
		const button = document.querySelector("` + selector + `");
		if (button.disabled) return false;
		button.click();
		return true;
	})()`)
}

// tabTo presses the Tab key until an expression of JavaScript is true.
func (p *tab) tabTo(expression string) {
	p.t.Helper()
	for end := time.Now().Add(patience); !evaluate[bool](p, expression); {
		require.True(p.t, time.Now().Before(end), expression)
		p.run(chromedp.KeyEvent(kb.Tab))
	}
}

// emulate sets the medium, "" for a screen, and one feature of it, such as prefers-color-scheme.
func (p *tab) emulate(medium, feature, value string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: medium, Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
	require.NoError(p.t, err)
	p.until(`matchMedia("(` + feature + `: ` + value + `)").matches`)
}

// colors makes the page light or dark.
func (p *tab) colors(scheme string) {
	p.t.Helper()
	p.emulate("", "prefers-color-scheme", scheme)
}

// resize sets the size of the window.
func (p *tab) resize(width, height int64) {
	p.t.Helper()
	p.run(chromedp.EmulateViewport(width, height))
	p.until(fmt.Sprintf(`innerWidth === %d && innerHeight === %d`, width, height))
}

// pictures saves pictures of the whole page: light and dark, and on a phone.
func (p *tab) pictures(name string) {
	p.t.Helper()
	for _, kind := range []struct {
		name, scheme string
		width        int64
	}{{"dark", "dark", 1280}, {"phone", "light", 360}, {"light", "light", 1280}} {
		p.colors(kind.scheme)
		p.resize(kind.width, 900)
		p.until(`charts.every(({chart, at}) => chart.width === at.clientWidth)`)
		height := evaluate[int64](p, `document.documentElement.scrollHeight`)
		p.resize(kind.width, height)
		evaluate[bool](p, `(tick(), drawCharts(), true)`)
		png, err := try(p, chromedp.CaptureScreenshot())
		require.NoError(p.t, err)
		require.NoError(p.t, os.WriteFile(filepath.Join(*screenshots, name+"-"+kind.name+".png"), png, 0o600))
	}
}

// requireClean checks that the page loaded nothing from other hosts and logged no script errors.
func (p *tab) requireClean() {
	p.t.Helper()
	assert.Empty(p.t, evaluate[[]string](p,
		`performance.getEntriesByType("resource").map((e) => e.name).filter((name) => !name.startsWith(location.origin))`))
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Empty(p.t, p.scriptErrors)
}

// accessibilityProblems lists problems for users of screen readers or keyboards, and low contrast: the checks of
// axe-core that apply to these pages.
const accessibilityProblems = `(() => {
	const flaws = [];
	const visible = (e) => e.checkVisibility() && e.getClientRects().length > 0;
	if (!document.documentElement.lang) flaws.push("the page has no language");
	if (!document.title) flaws.push("the page has no title");
	if (document.querySelectorAll("main").length !== 1) flaws.push("the page needs one main");
	if (document.querySelectorAll("h1").length !== 1) flaws.push("the page needs one h1");
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) flaws.push("two elements have the id " + id);
	for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
		for (const id of ((e.getAttribute("aria-labelledby") ?? "") + " " + (e.getAttribute("aria-describedby") ?? "")).trim().split(" "))
			if (!document.getElementById(id)) flaws.push("there is no " + id + " to label with");
	for (const e of document.querySelectorAll("input, select, textarea"))
		if (visible(e) && e.labels.length === 0) flaws.push("an input has no label: " + e.outerHTML);
	for (const e of document.querySelectorAll("button, a"))
		if (visible(e) && !e.textContent.trim() && !e.ariaLabel) flaws.push("it has no text: " + e.outerHTML);
	for (const e of document.querySelectorAll("svg, [role=img], progress, [role=region]"))
		if (visible(e) && !e.getAttribute("aria-labelledby") && !e.ariaLabel) flaws.push("it has no name: " + e.outerHTML.slice(0, 80));
	for (const e of document.querySelectorAll("th")) if (!e.scope) flaws.push("a th has no scope");

	const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
	const luminance = ([r, g, b]) => {
		const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const color = parse(getComputedStyle(e).backgroundColor);
			if (color.length === 3 || color[3] === 1) return color;
		}
		return [255, 255, 255];
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || !visible(e)) continue;
		const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) flaws.push(contrast.toFixed(1) + " is too little contrast: " + e.outerHTML.slice(0, 80));
	}
	if (document.documentElement.scrollWidth > innerWidth) flaws.push("it is wider than the screen");
	return flaws;
})()`

// requireAccessible checks the page light and dark, on a screen and on a phone.
func (p *tab) requireAccessible() {
	p.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		p.colors(scheme)
		for _, width := range []int64{1280, 360} {
			p.resize(width, 900)
			p.untilEmpty(accessibilityProblems, fmt.Sprintf("%s, %d wide", scheme, width))
		}
	}
	p.resize(1280, 900)
}

// requireKeyboard checks that the Tab key leads to everything that can be used, and shows where it is. It repeats the
// round if a part of the page was disabled, hidden or replaced meanwhile.
func (p *tab) requireKeyboard() {
	p.t.Helper()
	var problems []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if problems = p.keyboardProblems(); len(problems) == 0 {
			return
		}
	}
	require.Empty(p.t, problems)
}

// keyboardProblems makes one round with the Tab key.
func (p *tab) keyboardProblems() (problems []string) {
	p.t.Helper()
	const usable = `[...document.querySelectorAll("a, button, input, select, summary, [tabindex]")]
		.filter((e) => e.checkVisibility() && !e.disabled)`
	for range evaluate[int](p, `document.activeElement.blur(), reached = new Set(), `+usable+`.length`) {
		p.run(chromedp.KeyEvent(kb.Tab))
		problems = append(problems, evaluate[[]string](p, `(() => {
			const e = document.activeElement, problems = [];
			if (!`+usable+`.includes(e)) problems.push("the Tab key leads to " + e.outerHTML.slice(0, 80));
			if (getComputedStyle(e).outlineStyle === "none") problems.push("no outline: " + e.outerHTML.slice(0, 80));
			reached.add(e);
			return problems;
		})()`)...)
	}
	return append(problems, evaluate[[]string](p,
		usable+`.filter((e) => !reached.has(e)).map((e) => "the Tab key does not lead to " + e.outerHTML.slice(0, 80))`)...)
}

// requireOld checks that texts say when they were true.
func (p *tab) requireOld(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.untilText(id, `^\s*At \d\d:\d\d:\d\d UTC: `)
	}
	p.until(`!document.querySelector("main > :not(#state) h2:not([data-old])")`)
}

// requireWholeRows checks that no cell of a table is cut off, on a screen and on a phone, after a JavaScript statement.
func (p *tab) requireWholeRows(id, statement string) {
	p.t.Helper()
	for _, width := range []int64{1280, 360} {
		p.resize(width, 900)
		p.untilEmpty(`(() => {
			`+statement+`
			const body = document.getElementById("`+id+`"), frame = body.closest(".scroll").getBoundingClientRect();
			return [...body.querySelectorAll("td")].filter((cell) => {
				const box = cell.getBoundingClientRect();
				return box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
			}).map((cell) => cell.textContent);
		})()`, fmt.Sprintf("%s, %d wide", id, width))
	}
	p.resize(1280, 900)
}

// requireMarks checks how the page marks a percentile above its limit: of the last minute, or of the last 10 seconds.
func (p *tab) requireMarks() {
	p.t.Helper()
	marks := func(seconds, minute string) string {
		return evaluate[string](p, `(() => {
			showFigures({...last, level: "ok", p99_ms: `+seconds+`, minute: {p99_ms: `+minute+`, error_share: 0}});
			const mark = document.getElementById("p99-limit");
			return mark.className + ": " + mark.textContent;
		})()`)
	}
	assert.Equal(p.t, "limit: limit 500 ms over a minute", marks("320", "320"))
	assert.Equal(p.t, "limit warning: ▲ above the limit of 500 ms, but not over the last minute: 320 ms",
		marks("582", "320"))
	assert.Equal(p.t, "limit bad: ✗ limit 500 ms, exceeded: 582 ms over the last minute", marks("582", "582"))
}

// queryContinuously makes clients query a server until the test ends, even while it is down.
func queryContinuously(t *testing.T, r *testServer, clients int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				r.do(http.MethodGet, "/") //nolint:contextcheck,errcheck // it gets its answer, unless the server is away
				<-time.After(pollInterval)
			}
		})
	}
	t.Cleanup(func() { cancel(); all.Wait() })
}

// present returns a JavaScript expression: whether the page has current data and shows a level: OK, Degraded, ...
func present(level string) string {
	return `document.getElementById("level").textContent === "` + level + `" && performance.now() - received < 5000`
}

// drawn is a JavaScript expression: the number of charts that have lines.
const drawn = `charts.filter(({chart}) => {
	const canvas = chart.ctx.canvas, pixels = chart.ctx.getImageData(0, 0, canvas.width, canvas.height).data;
	return pixels.some((alpha, i) => i % 4 === 3 && alpha > 0);
}).length`

// textOf returns a JavaScript expression: the text of the element with an ID.
func textOf(id string) string { return `document.getElementById("` + id + `").textContent` }

// The live page shows the figures of a load, the progress of an update, and the effects of the controls. It is
// accessible, and reconnects to a restarted server.
func TestDashboard(t *testing.T) {
	t.Parallel()
	proxied, _ := proxiedDatabase(t)
	cfg := configFor(proxied)
	cfg.Users, cfg.ControlToken, cfg.Interval, cfg.Instance = 200_000, token, config.Duration(time.Hour), "one"
	port, err := testenv.FreePort() // which stays free while the server restarts
	require.NoError(t, err)
	cfg.Addr = config.Address("127.0.0.1:" + port)
	r := startReady(t, cfg)
	untilUpdated(t, r)
	queryContinuously(t, r, 4)
	p := openTab(t, r.url+"/dashboard")
	const rate = `Number(document.getElementById("rate").textContent.replace(",", ""))`
	p.until(rate + ` > 0`)
	before := evaluate[string](p, textOf("rate"))
	p.until(textOf("rate") + ` !== "` + before + `"`)
	p.until(`past.time.length > 5 && ` + drawn + ` === 2`)
	for _, id := range []string{"p50", "p90", "p99"} {
		p.untilText(id, `^[\d.]+ (µs|ms|s)$`)
	}
	p.until(textOf("latest") + `.includes('"timestamp"')`)
	p.untilText("queries", map[bool]string{true: "^Queries of this server$", false: "^Queries$"}[cfg.Shared])
	p.untilText("instance", `^one$`)
	p.untilText("store", `^PostgreSQL, 127\.0\.0\.1:\d+/\w+$`)
	p.untilText("connections", `^\d+ of 10,000$`)
	p.untilText("pool", `^\d+ of 10$`)
	assert.Equal(t, version.Module(), evaluate[string](p, textOf("version")))
	p.until(`document.getElementById("progress").hidden`)

	p.requireAccessible()
	p.requireKeyboard()
	p.requireWholeRows("history", "")
	p.requireWholeRows("history", `showUpdate({...last, running_since: last.time, done: 123456, total: 200000, updates: [
		{...last.updates.at(-1), started_at: new Date(serverNow() - 95000), ended_at: null, failed: false, cause: "control"}]})`)
	p.requireMarks()
	// The charts show what there is, at least 2 minutes and at most 30.
	p.until(`(() => {
		const { min, max } = charts[0].chart.scales.x;
		return Math.abs(max - min - Math.max(120, serverNow() / 1000 - past.time[0])) < 5;
	})()`)
	assert.InDelta(t, 1800, evaluate[float64](p, `(() => {
		const first = past.time[0];
		past.time[0] -= 4000;
		const [from, to] = span();
		past.time[0] = first;
		return to - from;
	})()`), 1)

	// Before the server's start the charts have no data.
	assert.Regexp(t, `^started \d\d:\d\d:\d\d$`, evaluate[string](p, `(() => {
		const {chart} = charts[0], texts = [], fill = chart.ctx.fillText, first = past.time[0];
		chart.ctx.fillText = (text) => texts.push(text);
		past.time[0] = serverNow() / 1000 - 60;
		drawGaps(chart);
		past.time[0] = first;
		chart.ctx.fillText = fill;
		return texts.at(-1);
	})()`))

	// An update, by keyboard: its bar shows how far it is, here while it waits for a row.
	tx, err := connect(t, proxied).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "SELECT FROM users WHERE id = (SELECT max(id) FROM users) FOR UPDATE")
	evaluate[bool](p, `(document.getElementById("token").focus(), true)`)
	p.run(chromedp.KeyEvent(token))
	p.tabTo(`document.activeElement.value === "update"`)
	p.run(chromedp.KeyEvent(" "))
	cell := func(row int, label string) string {
		return fmt.Sprintf(`document.getElementById("history").rows[%d].querySelector("[data-label=%s]").textContent`, row, label)
	}
	p.until(strings.Join([]string{ // at once, as the update fails if it waits for too long
		`/^Running since .* Latest progress at /.test(` + textOf("update-text") + `)`,
		`document.getElementById("progress").value > 0 && document.getElementById("progress").value < 1`,
		cell(0, "Cause") + ` === "control" && ` + cell(1, "Cause") + ` === "tick"`,
		`/^[\d mins]+ so far$/.test(` + cell(0, "Duration") + `) && /^[\d,]+ so far$/.test(` + cell(0, "Users") + `)`,
		`document.getElementById("update-now").disabled && ` + textOf("update-note") + ` === "One is running."`,
	}, " && "))
	require.NoError(t, tx.Rollback(t.Context()))
	p.until(textOf("outcome") + `.startsWith("The update has succeeded: 200,000 users in ")`)
	p.until(textOf("history") + `.split("done").length === 3`)
	p.until(`document.getElementById("progress").hidden`)

	// An interval needs a unit. The page reports each change, and the button toggles between pause and resume.
	set := func(number, unit string) {
		p.run(chromedp.SetValue(chromedp.CSS("#interval"), number), chromedp.SetValue(chromedp.CSS("#unit"), unit))
		p.click("#interval-form button")
	}
	set("90", "")
	p.until(`document.querySelector("#unit:invalid") !== null`)
	p.untilText("interval-value", `^1 h$`)
	set("90", "1000")
	p.until(textOf("outcome") + `.startsWith("The interval has changed from 1 h to 1 min 30 s")`)
	p.until(textOf("interval-value") + ` === "1 min 30 s"`)
	assert.Regexp(t, `^▲ Shorter than the latest update took \(.+\): ticks are skipped\.$`, evaluate[string](p,
		`(showControls({...last, interval_seconds: 0.001}), `+textOf("interval-note")+`)`))
	p.untilText("interval-note", `^$`)
	set("0.0001", "1")
	p.until(textOf("outcome") + `.startsWith("Nothing has changed. ")`)
	p.click("#toggle")
	p.until(textOf("outcome") + `.startsWith("Ticks are paused")`)
	p.until(textOf("ticks") + `.includes("Ticks are paused") && ` + textOf("toggle") + ` === "Resume ticks"`)
	p.click("#toggle")
	p.until(textOf("ticks-value") + ` === "running" && ` + textOf("toggle") + ` === "Pause ticks"`)
	p.run(chromedp.SetValue(chromedp.CSS("#token"), "a wrong token"))
	p.click("#toggle")
	p.until(textOf("outcome") + `.startsWith("Nothing has changed. This needs the control token")`)

	// A new page has the history.
	seen := evaluate[int](p, `past.time.length`)
	fresh := openTab(t, r.url+"/dashboard")
	fresh.until(`last !== null`)
	assert.GreaterOrEqual(t, evaluate[int](fresh, `past.time.length`), seen)

	// The server goes away, and comes back.
	require.NoError(t, r.stop())
	p.until(textOf("level") + ` === "Stale" && document.title.startsWith("Stale – one – ")`)
	p.untilText("reasons", `There is no connection to the server\.`) // no data comes from here on
	p.requireOld("update-text", "ticks", "problems")
	assert.NotContains(t, evaluate[string](p, textOf("ticks")), "The next one is")
	p.untilText("ticks-value", `, at \d\d:\d\d:\d\d UTC$`)
	p.untilText("disabled-note", `^Disabled: no data comes from the server\.$`)
	p.until(`!document.querySelector("#controls button:enabled")`)
	p.until(`lastGap()`)
	assert.True(t, evaluate[bool](p, `(() => {
		const {chart} = charts[0], gaps = [], fill = chart.ctx.fillText;
		chart.ctx.fillText = (text) => gaps.push(text);
		drawGap(chart, chart.bbox.left, chart.bbox.left + 200);
		chart.ctx.fillText = fill;
		return gaps.join() === "no data";
	})()`))
	p.until(`document.getElementById("rate-chart").ariaLabel.includes(", no data after ")`)
	p.requireAccessible()
	startReady(t, cfg)
	p.until(rate + ` > 0 && ` + textOf("level") + ` !== "Stale"`)
	p.until(`!document.querySelector("[data-old]") && !document.querySelector("#controls :disabled")`)
	p.untilText("update-text", `^(?!At )`)
	p.requireClean()
}

// The live page reports that the database is down, and since when, and its recovery.
func TestDashboardOfOutage(t *testing.T) {
	t.Parallel()
	proxied, proxy := proxiedDatabase(t)
	cfg := configFor(proxied)
	cfg.ControlToken = token
	r := startReady(t, cfg)
	untilUpdated(t, r)
	queryContinuously(t, r, 1)
	p := openTab(t, r.url+"/dashboard")
	p.until(present("OK") + ` || ` + present("Degraded")) // a busy machine is slow
	p.until(`last.latest.body !== null`)
	undo := pgtest.Toxic(t, proxy, "reset_peer", "downstream", map[string]int{"timeout": 0})
	p.until(present("Down"))
	p.untilText("reasons", `Reads of the database fail: queries are rejected with status 503\.`)
	p.untilText("since", `^for .*\d+ s, since \d\d:\d\d:\d\d UTC$`)
	p.untilText("announcement", `Down\. Reads of the database fail`)
	p.until(textOf("problems") + `.includes("queries fail")`)
	p.until(`past.level.at(-1) === "down"`)
	p.untilText("latest-note", `^Of \d\d:\d\d:\d\d UTC \(.*failed since, the latest with status 503 at `)
	if cfg.Shared {
		// The state, the ticks and the controls say the same.
		p.until(textOf("reasons") + `.includes("This server does not tick until it answers.")`)
		p.until(textOf("ticks") + `.includes("This server does not tick until the database answers.")`)
		assert.NotContains(t, evaluate[string](p, textOf("ticks")), "The next one is")
		p.untilText("ticks-value", `^none here, the database does not answer$`)
		p.until(`document.getElementById("toggle").disabled && document.getElementById("change").disabled`)
		p.untilText("toggle-note", `^✗ The schedule cannot be changed: the database, which has it, does not answer\.$`)
		p.untilText("update-note", `^▲ An update fails unless the database answers soon\.$`)
		p.untilText("servers-caption", `^Servers that were active at \d\d:\d\d:\d\d UTC, .* The database has not answered since$`)
		p.until(`document.getElementById("servers-title").dataset.old === "as of " + zoned(last.synced_at)`)
		p.untilText("history-title", `^The latest 10 updates, as of \d\d:\d\d:\d\d UTC$`)
	}
	p.requireAccessible()
	undo()
	p.until(textOf("reasons") + `.startsWith("Reads of the database fail") === false`)
	p.until(`!document.querySelector("[data-old]") && !document.getElementById("toggle").disabled && ` +
		textOf("toggle-note") + ` === ""`)
	p.requireClean()
}

// The live page and its controls work under a path prefix of a proxy. The page can be frozen, respects reduced motion, and
// prints in light colors.
func TestDashboardBelowPrefix(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 1000, token
	r := startReady(t, cfg)
	proxy := r.behindPrefix(t)
	p := openTab(t, proxy.URL+"/points/dashboard")
	p.until(present("OK") + ` && ` + drawn + ` === 2`)
	p.run(chromedp.SetValue(chromedp.CSS("#token"), token))
	p.click("#toggle")
	p.until(textOf("outcome") + `.startsWith("Ticks are paused")`)
	for _, link := range evaluate[[]string](p, `[...document.querySelectorAll("a")].map((a) => a.href)`) {
		assert.True(t, strings.HasPrefix(link, proxy.URL+"/points/"), link)
	}

	p.run(chromedp.Click(chromedp.CSS("#freeze")))
	p.until(textOf("level") + ` === "Frozen"`)
	p.run(chromedp.Click(chromedp.CSS("#freeze")))
	p.until(present("OK"))

	const draws = `(() => { charted = performance.now() - 2000; const before = charted; tick(); return charted !== before; })()`
	assert.True(t, evaluate[bool](p, draws))
	p.emulate("", "prefers-reduced-motion", "reduce")
	assert.False(t, evaluate[bool](p, draws), "charts move less often")
	p.emulate("print", "prefers-color-scheme", "dark")
	p.until(`getComputedStyle(document.body).backgroundColor === "rgb(255, 255, 255)"`)
	p.until(`color("text") === "#1b1f24"`)
	p.until(`!document.getElementById("controls").checkVisibility()`)
	p.requireClean()
}

// A page beyond the limit shows the error.
func TestTooManyDashboards(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 1000
	r := startReady(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 100 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/dashboard/events", nil)
		require.NoError(t, err)
		response, err := r.client.Transport.RoundTrip(request) // without the timeout of the client
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		defer response.Body.Close()
	}
	p := openTab(t, r.url+"/dashboard")
	p.until(textOf("reasons") + `.startsWith("100 live pages of this server are open")`)
	cancel()
	p.until(present("OK"))
}

// TestScreenshots takes the screenshots of the documents if -screenshots is set.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("not a test: it takes the screenshots of docs/, which needs minutes; set -screenshots to their folder")
	}
	proxied, proxy := proxiedDatabase(t)
	cfg := sharedConfig(proxied, "one")
	cfg.Users, cfg.Interval, cfg.QueryTimeout = 200_000, config.Defaults().Interval, config.Defaults().QueryTimeout
	r := startReady(t, cfg)
	untilUpdated(t, r)
	cfg.Instance = "two"
	two := startReady(t, cfg)
	queryContinuously(t, r, 4)
	queryContinuously(t, two, 2)
	select {
	case <-time.After(*history):
	case <-r.ended:
		require.FailNow(t, "the server has ended")
	}
	p := openTab(t, r.url+"/dashboard")
	p.until(present("OK") + ` && last.latest.body !== null && last.next_tick && new Date(last.next_tick) - serverNow() > 20000 && !last.running_since`)
	p.pictures("live-ok")

	tx, err := connect(t, proxied).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "SELECT FROM users WHERE id BETWEEN 90000 AND 110000 FOR UPDATE") // the update waits
	require.Equal(t, http.StatusAccepted, r.control(t, "update", "").status)
	p.until(textOf("update-text") + `.includes("of 200,000 users") && document.getElementById("progress").value > 0.2`)
	p.pictures("live-updating")
	require.NoError(t, tx.Rollback(t.Context()))
	p.until(`!last.running_since`)

	stale := openTab(t, two.url+"/dashboard")
	stale.until(present("OK") + ` && last.latest.body !== null`)
	require.NoError(t, two.stop())
	stale.until(textOf("level") + ` === "Stale" && performance.now() - received > 12000`)
	stale.pictures("live-stale")

	p = openTab(t, r.url+"/dashboard") // a tab lasts for two minutes
	p.until(present("OK"))
	pgtest.Toxic(t, proxy, "reset_peer", "downstream", map[string]int{"timeout": 0})
	p.until(present("Down") + ` && serverNow() - new Date(last.since) > 12000`)
	p.pictures("live-down")
}

// The live page of a server shows all servers that share its state, and which one updates. Its controls act on all.
func TestDashboardOfTwoServers(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	one := startReady(t, sharedConfig(connection, "one"))
	untilUpdated(t, one)
	two := startReady(t, sharedConfig(connection, "two"))
	p := openTab(t, two.url+"/dashboard")
	const servers = `[...document.getElementById("servers").rows].map((row) => row.cells[0].textContent + ":" + row.cells[3].textContent).join()`
	p.until(servers + ` === "one:–,two:this server"`)
	p.untilText("queries", `^Queries of this server$`)
	p.until(`document.getElementById("history").textContent.startsWith("one")`)
	p.requireAccessible()
	p.requireKeyboard()

	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "SELECT FROM users FOR UPDATE") // the update waits
	require.Equal(t, http.StatusAccepted, one.control(t, "update", "").status)
	p.until(`document.getElementById("update-text").textContent.startsWith("Running on one since")`)
	p.until(servers + ` === "one:updating,two:this server"`)
	require.NoError(t, tx.Rollback(t.Context()))
	p.until(`document.getElementById("update-text").textContent.startsWith("Not running.")`)

	p.run(chromedp.SetValue(chromedp.CSS("#token"), token))
	p.click("#toggle")
	p.until(textOf("outcome") + `.startsWith("Ticks are paused, on all servers.")`)
	p.until(textOf("ticks") + `.includes("for all servers together. Ticks are paused")`)
	require.Eventually(t, func() bool { return one.ready(t).Paused }, patience, pollInterval)
	require.NoError(t, one.stop())
	p.until(servers + ` === "two:this server,one:✗ gone"`)
	p.untilText("servers", ` ago`)
	p.until(`document.getElementById("servers").rows[0].cells[1].textContent === clock(last.server.started_at)`)
	p.requireWholeRows("servers", "")
	p.requireClean()
}

// proxiedDatabase returns a database behind a proxy, and the proxy.
func proxiedDatabase(t *testing.T) (connection string, proxy *toxiproxy.Proxy) {
	t.Helper()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	proxy = pgtest.Proxy(t, u.Host)
	u.Host = proxy.Listen
	return u.String(), proxy
}

// The API's page works without a network, also its "Try it out".
func TestDoc(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 1000
	r := startReady(t, cfg)
	untilUpdated(t, r)
	p := openTab(t, r.url+"/doc")
	p.run(chromedp.WaitVisible(chromedp.CSS(`#operations-queries-query`)), chromedp.WaitVisible(chromedp.CSS(`#live a`)))
	assert.Equal(t, r.url+"/dashboard", evaluate[string](p, `document.querySelector("#live a").href`))
	if *screenshots != "" {
		for _, scheme := range []string{"light", "dark"} {
			p.colors(scheme)
			png, err := try(p, chromedp.CaptureScreenshot())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(*screenshots, "doc-"+scheme+".png"), png, 0o600))
		}
	}
	p.run(
		chromedp.Click(chromedp.CSS(`#operations-queries-query .opblock-summary-control`)),
		chromedp.Click(chromedp.CSS(`#operations-queries-query .execute`)),
		chromedp.WaitVisible(chromedp.CSS(`#operations-queries-query .live-responses-table .response-col_status`)),
	)
	const responses = `document.querySelector("#operations-queries-query .live-responses-table tbody")`
	p.until(responses + `.querySelector(".response-col_status").innerText.includes("200")`)
	p.until(responses + `.innerText.includes("timestamp")`)
	p.requireClean()
}

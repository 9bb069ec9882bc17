package e2e_test

import (
	"context"
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/browser"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of the pages that TestDashboard and TestDoc open")

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
	ctx, cancel = context.WithTimeout(ctx, 2*patience)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	p.run(chromedp.EmulateViewport(1280, 900))
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

func (p *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, steps...))
}

// evaluate returns the value of a JavaScript expression.
func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return value
}

// text returns the text of an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, `document.querySelector("`+selector+`").innerText`)
}

// until waits until an expression of JavaScript is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience)))
	require.NoError(p.t, err, expression)
}

// colors makes the page light or dark.
func (p *tab) colors(scheme string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(p.t, err)
}

// screenshot saves pictures of the page, light and dark, if -screenshots is given.
func (p *tab) screenshot(name string) {
	p.t.Helper()
	if *screenshots == "" {
		return
	}
	p.run(chromedp.EmulateViewport(1280, 1330))
	for _, scheme := range []string{"light", "dark"} {
		p.colors(scheme)
		png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		require.NoError(p.t, err)
		require.NoError(p.t, os.WriteFile(filepath.Join(*screenshots, name+"-"+scheme+".png"), png, 0o600))
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
			p.run(chromedp.EmulateViewport(width, 900))
			assert.Empty(p.t, evaluate[[]string](p, accessibilityProblems), "%s, %d wide", scheme, width)
		}
	}
	p.run(chromedp.EmulateViewport(1280, 900))
}

// requireKeyboard checks that the Tab key leads to everything that can be used, and shows where it is.
func (p *tab) requireKeyboard() {
	p.t.Helper()
	const usable = `[...document.querySelectorAll("a, button, input, [tabindex]")].filter((e) => e.checkVisibility())`
	count := evaluate[int](p, `document.activeElement.blur(), `+usable+`.length`)
	reached := make(map[int]bool)
	for range count {
		p.run(chromedp.KeyEvent(kb.Tab))
		assert.NotEqual(p.t, "none", evaluate[string](p, `getComputedStyle(document.activeElement).outlineStyle`))
		reached[evaluate[int](p, usable+`.indexOf(document.activeElement)`)] = true
	}
	assert.NotContains(p.t, reached, -1)
	assert.Len(p.t, reached, count)
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

// The live page shows the figures of a load, the progress of an update, and the effects of the controls. It is
// accessible, and reconnects to a restarted server.
func TestDashboard(t *testing.T) {
	t.Parallel()
	proxied, slow := slowDatabase(t)
	cfg := configFor(proxied)
	cfg.Users, cfg.ControlToken, cfg.Interval, cfg.Instance = 200_000, token, config.Duration(time.Hour), "one"
	r := startReady(t, cfg)
	untilUpdated(t, r)
	queryContinuously(t, r, 4)
	p := openTab(t, r.url+"/dashboard")
	const rate = `Number(document.getElementById("rate").textContent.replace(",", ""))`
	p.until(rate + ` > 0`)
	before := p.text("#rate")
	p.until(`document.getElementById("rate").textContent !== "` + before + `"`)
	p.until(`document.getElementById("rate-line").getAttribute("points").split(" ").length > 5`)
	assert.Equal(t, "Live.", p.text("#status"))
	for _, id := range []string{"#p50", "#p90", "#p99"} {
		assert.Regexp(t, `^[\d.]+ m?s$`, p.text(id))
	}
	assert.Contains(t, p.text("#latest"), `"timestamp"`)
	assert.Equal(t, cfg.Shared, p.text("#queries") == "Queries of this server")

	p.requireAccessible()
	p.requireKeyboard()
	if *screenshots != "" { // a chart and a list of servers worth a picture
		startReady(t, sharedConfig(proxied, "two"))
		p.until(`document.getElementById("rate-line").getAttribute("points").split(" ").length > 110`)
	}

	// An update, by keyboard: its bar runs.
	slow()
	evaluate[bool](p, `window.shares = new Set(), new MutationObserver(() => shares.add(document.getElementById("progress").value))
		.observe(document.getElementById("progress"), {attributes: true}), document.getElementById("token").focus(), true`)
	p.run(chromedp.KeyEvent(token), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(" "))
	p.until(`document.getElementById("outcome").textContent === "Done."`)
	p.until(`document.getElementById("update-text").textContent.startsWith("Running since")`)
	p.until(`[...shares].filter((share) => share > 0 && share < 1).length >= 2`)
	p.screenshot("dashboard")
	p.until(`document.getElementById("update-text").textContent.startsWith("Not running.")`)
	p.until(`document.getElementById("history").textContent.split("done").length === 3`)

	p.run(chromedp.SetValue(chromedp.CSS("#interval"), "soon"), chromedp.Click(chromedp.CSS(`button[value="interval"]`)))
	p.until(`document.getElementById("outcome").textContent.startsWith("The body must be")`)
	p.run(chromedp.Click(chromedp.CSS(`button[value="pause"]`)))
	p.until(`document.getElementById("ticks").textContent.includes("paused")`)

	// The server goes away, and comes back.
	require.NoError(t, r.stop())
	p.until(`document.getElementById("status").textContent.startsWith("No connection to the server")`)
	cfg.Addr = config.Address(strings.TrimPrefix(r.url, "http://"))
	startReady(t, cfg)
	p.until(`document.getElementById("status").textContent === "Live." && ` + rate + ` > 0`)
	p.requireClean()
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
	p.until(servers + ` === "one:,two:this server"`)
	assert.Equal(t, "Queries of this server", p.text("#queries"))
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

	p.run(chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.Click(chromedp.CSS(`button[value="pause"]`)))
	p.until(`document.getElementById("ticks").textContent.includes("for all servers together. Ticks are paused.")`)
	require.Eventually(t, func() bool { return one.ready(t).Paused }, patience, pollInterval)
	require.NoError(t, one.stop())
	p.until(servers + ` === "two:this server"`)
	p.requireClean()
}

// slowDatabase returns a database behind a proxy, and what makes each of its answers take a tenth of a second.
func slowDatabase(t *testing.T) (connection string, slow func()) {
	t.Helper()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	proxy := pgtest.Proxy(t, u.Host)
	u.Host = proxy.Listen
	return u.String(), func() {
		t.Cleanup(pgtest.Toxic(t, proxy, "latency", "downstream", map[string]int{"latency": 100}))
	}
}

// The API's page works without a network, also its "Try it out".
func TestDoc(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 1000
	r := startReady(t, cfg)
	untilUpdated(t, r)
	p := openTab(t, r.url+"/doc")
	p.run(chromedp.WaitVisible(chromedp.CSS(`#operations-queries-query`)))
	p.screenshot("doc")
	p.run(
		chromedp.Click(chromedp.CSS(`#operations-queries-query .opblock-summary-control`)),
		chromedp.Click(chromedp.CSS(`#operations-queries-query .execute`)),
		chromedp.WaitVisible(chromedp.CSS(`#operations-queries-query .live-responses-table .response-col_status`)),
	)
	assert.Contains(t, p.text(`#operations-queries-query .live-responses-table tbody .response-col_status`), "200")
	assert.Contains(t, p.text(`#operations-queries-query .live-responses-table`), "timestamp")
	p.requireClean()
}

package bench

import (
	"errors"
	"image/color"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	canvas "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A curve holds measurements by the quantity of the horizontal axis.
type curve struct {
	name   string
	color  color.Color
	points []point
}

type point struct {
	x int
	measured
}

// An axis is a horizontal axis.
type axis struct {
	label string
	log   bool
	ticks plot.Ticker
}

func connectionsAxis() axis { return axis{"connections", true, ticks(1, 3, 10, 30, 100, 300, 1000)} }
func serversAxis() axis     { return axis{"servers", false, ticks(1, 2, 3, 4)} }

var (
	grey   = color.RGBA{130, 130, 130, 255}
	blue   = color.RGBA{31, 100, 200, 255}
	orange = color.RGBA{220, 100, 20, 255}
	faint  = color.RGBA{228, 228, 228, 255}
)

// drawLoad plots requests/s and the 99th percentile side by side.
func drawLoad(file string, x axis, curves []curve) error {
	throughput, err := panel("requests/s", x, curves, func(m measured) float64 { return m.rate })
	if err != nil {
		return err
	}
	latency, err := panel("99% of the answers within, ms", x, curves, func(m measured) float64 { return m.p99 })
	if err != nil {
		return err
	}
	throughput.Y.Min, throughput.Y.Max = 0, 1.25*throughput.Y.Max // room for the legend above the curves
	throughput.Y.Tick.Marker = ticks(0, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 140_000)
	latency.Y.Scale, latency.Y.Tick.Marker = plot.LogScale{}, ticks(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
	return draw(file, curves, throughput, latency)
}

// draw writes two plots side by side; the left one has the legend.
func draw(file string, curves []curve, left, right *plot.Plot) error {
	for _, c := range curves {
		left.Legend.Add(c.name, &plotter.Line{LineStyle: canvas.LineStyle{Color: c.color, Width: 2}})
	}

	picture := vgsvg.New(24*vg.Centimeter, 10*vg.Centimeter)
	whole := canvas.New(picture)
	whole.SetColor(color.White) // on dark pages, too
	whole.Fill(whole.Path())
	tiles := canvas.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: vg.Millimeter * 4, PadBottom: vg.Millimeter * 4,
		PadLeft: vg.Millimeter * 4, PadRight: vg.Millimeter * 4}
	for i, cell := range plot.Align([][]*plot.Plot{{left, right}}, tiles, whole)[0] {
		[]*plot.Plot{left, right}[i].Draw(cell)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = picture.WriteTo(f)
	return errors.Join(err, f.Close())
}

func panel(title string, x axis, curves []curve, of func(measured) float64) (*plot.Plot, error) {
	p := plot.New()
	sans := func(f *font.Font, size vg.Length) { f.Variant, f.Size = "Sans", size }
	for _, style := range []*font.Font{
		&p.X.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		sans(style, 10)
	}
	sans(&p.Title.TextStyle.Font, 12)
	p.Title.Text, p.Title.Padding = title, vg.Millimeter*2
	p.X.Label.Text, p.X.Tick.Marker = x.label, x.ticks
	if x.log {
		p.X.Scale = plot.LogScale{}
	}
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Millimeter
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)
	for _, c := range curves {
		points := make(plotter.XYs, 0, len(c.points))
		for _, at := range c.points {
			points = append(points, plotter.XY{X: float64(at.x), Y: of(at.measured)})
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = c.color, 2
		dots.Color, dots.Radius, dots.Shape = c.color, 3, canvas.CircleGlyph{}
		p.Add(line, dots)
	}
	return p, nil
}

// ticks returns the values that lie on the axis.
func ticks(values ...float64) plot.Ticker {
	return plot.TickerFunc(func(from, to float64) (marks []plot.Tick) {
		for _, v := range values {
			if from <= v && v <= to {
				marks = append(marks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
		return marks
	})
}

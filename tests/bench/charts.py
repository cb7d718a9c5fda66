"""Small SVG charts that can be read on a light and on a dark page."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 52, 48
# Chosen to stand out from white and from black alike, and from each other for most eyes.
COLORS = ['#0b84c6', '#d9730d', '#2e9e5b', '#b5559c', '#8a7f1e', '#7a7a7a']
STYLE = '''<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 14px; }
.grid { stroke: #8c959f; stroke-opacity: .35; }
.goal { stroke: #8c959f; stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de; } }
</style>'''


def number(value):
    """Up to three digits, without zeros that say nothing."""
    if value == 0:
        return '0'
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = '%.*f' % (digits, value)
    return text.rstrip('0').rstrip('.') if '.' in text else text


class Axis:
    """Maps values to pixels and chooses the lines of the grid."""
    def __init__(self, values, start, end, logarithmic, ticks=None, from_zero=False):
        self.logarithmic = logarithmic
        self.start, self.end = start, end
        low, high = min(values), max(values)
        if from_zero and not logarithmic:
            low = 0
        if ticks is None:
            ticks = self.log_ticks(low, high) if logarithmic else self.even_ticks(low, high)
            low, high = min(low, ticks[0]), max(high, ticks[-1])
        self.ticks = ticks
        if low == high:
            low, high = (low / 2, high * 2) if logarithmic else (low - 1, high + 1)
        self.low, self.high = self.scaled(low), self.scaled(high)

    def scaled(self, value):
        return math.log10(value) if self.logarithmic else value

    def at(self, value):
        share = (self.scaled(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @staticmethod
    def even_ticks(low, high):
        step = 10 ** math.floor(math.log10((high - low or 1) / 4))
        step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
        first, last = math.floor(low / step), math.ceil(high / step)
        return [i * step for i in range(first, last + 1)]

    @staticmethod
    def log_ticks(low, high):
        ticks = [m * 10.0 ** e for e in range(math.floor(math.log10(low)),
                                              math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
        below = [tick for tick in ticks if tick <= low] or ticks[:1]
        above = [tick for tick in ticks if tick >= high] or ticks[-1:]
        chosen = [tick for tick in ticks if below[-1] <= tick <= above[0]]
        return chosen if len(chosen) <= 7 else [tick for tick in chosen
                                                if math.log10(tick).is_integer()]


def text(x, y, content, anchor='middle', style=''):
    attributes = ' class="%s"' % style if style else ''
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, attributes,
                                                                     escape(content))


def line(x1, y1, x2, y2, style):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>' % (x1, y1, x2, y2, style)


def document(title, parts):
    return '\n'.join(
        ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
         'role="img">' % (WIDTH, HEIGHT, WIDTH, HEIGHT),
         '<title>%s</title>' % escape(title), STYLE,
         text(LEFT, 22, title, 'start', 'title'), *parts, '</svg>', ''])


def frame(y_axis, y_label):
    parts = [text(LEFT - 8, TOP - 6, y_label, 'start')] if y_label else []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts += [line(LEFT, y, WIDTH - RIGHT, y, 'grid'),
                  text(LEFT - 8, y + 4, number(tick), 'end')]
    return parts


def goal_line(y_axis, goal):
    value, label = goal
    y = y_axis.at(value)
    return [line(LEFT, y, WIDTH - RIGHT, y, 'goal'), text(WIDTH - RIGHT + 8, y + 4, label, 'start')]


def spread_labels(places, gap=15):
    """Moves labels apart that would lie on each other; keeps their order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, after in zip(order, order[1:]):
        moved[after] = max(moved[after], moved[before] + gap)
    overflow = max([0] + [moved[i] - (HEIGHT - BOTTOM) for i in order])
    return [y - overflow for y in moved]


def line_chart(title, x_label, y_label, series, x_names, log_y=False):
    """series: (name, [(x, y), ...]); x_names: (x, label), evenly spaced on a logarithmic axis."""
    x_axis = Axis([x for x, _ in x_names], LEFT + 12, WIDTH - RIGHT - 12, True,
                  [x for x, _ in x_names])
    y_axis = Axis([y for _, points in series for _, y in points], HEIGHT - BOTTOM, TOP + 8, log_y,
                  from_zero=True)
    parts = frame(y_axis, y_label)
    for x, label in x_names:
        parts.append(text(x_axis.at(x), HEIGHT - BOTTOM + 18, label))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label))
    ends = []
    for index, (_, points) in enumerate(series):
        color = COLORS[index % len(COLORS)]
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in points]
        parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                     % (color, ' '.join('%.1f,%.1f' % place for place in places)))
        parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*place, color)
                  for place in places]
        ends.append(places[-1][1])
    for index, (y, (name, _)) in enumerate(zip(spread_labels(ends), series)):
        parts.append('<rect x="%d" y="%.1f" width="10" height="3" fill="%s"/>'
                     % (WIDTH - RIGHT + 4, y - 1.5, COLORS[index % len(COLORS)]))
        parts.append(text(WIDTH - RIGHT + 18, y + 4, name, 'start'))
    return document(title, parts)


def bar_chart(title, y_label, bars, goals=()):
    """bars: (label, value); goals: (value, label), drawn as dashed lines."""
    y_axis = Axis([value for _, value in bars] + [value for value, _ in goals], HEIGHT - BOTTOM,
                  TOP + 8, False, from_zero=True)
    parts = frame(y_axis, y_label)
    step = (WIDTH - LEFT - RIGHT) / len(bars)
    for index, (label, value) in enumerate(bars):
        x = LEFT + step * index
        y = y_axis.at(value)
        parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" fill="%s"/>'
                     % (x + step * 0.2, y, step * 0.6, HEIGHT - BOTTOM - y, COLORS[0]))
        parts.append(text(x + step / 2, y - 4, '%.2f' % value))
        for row, word in enumerate(label.split(' ', 1)):
            parts.append(text(x + step / 2, HEIGHT - BOTTOM + 18 + 15 * row, word))
    for goal in goals:
        parts += goal_line(y_axis, goal)
    return document(title, parts)

package org.mixedgpu.cake.quickstart;

import java.util.List;
import java.util.Locale;

/**
 * Plots as inline SVG, drawn with the page's colours (CSS classes {@code s0}, {@code s1}, ... per
 * series). A pure function of the numbers.
 */
final class Svg {
  private static final int WIDTH = 720;
  private static final int HEIGHT = 280;
  private static final int LEFT = 58;
  private static final int RIGHT = 16;
  private static final int TOP = 14;
  private static final int BOTTOM = 42;

  private Svg() {}

  /** One line or group of bars; {@code y} may be NaN where there is no value. */
  record Series(String name, double[] x, double[] y) {}

  /** Lines over a shared axis; {@code fromZero} makes the y axis begin at 0. */
  static String lines(String xLabel, String yLabel, boolean fromZero, List<Series> series) {
    double xMin = Double.MAX_VALUE;
    double xMax = -Double.MAX_VALUE;
    double yMin = fromZero ? 0 : Double.MAX_VALUE;
    double yMax = -Double.MAX_VALUE;
    for (Series s : series) {
      for (int i = 0; i < s.x().length; i++) {
        if (!Double.isNaN(s.y()[i])) {
          xMin = Math.min(xMin, s.x()[i]);
          xMax = Math.max(xMax, s.x()[i]);
          yMin = Math.min(yMin, s.y()[i]);
          yMax = Math.max(yMax, s.y()[i]);
        }
      }
    }
    double step = niceStep((yMax - yMin) / 5);
    double low = Math.floor(yMin / step) * step;
    double high = Math.ceil(yMax / step) * step + (yMax == yMin ? step : 0);
    StringBuilder svg = open(xLabel, yLabel);
    grid(svg, low, high, step);
    double xStep = Math.max(1, niceStep((xMax - xMin) / 8));
    for (double x = Math.ceil(xMin / xStep) * xStep; x <= xMax; x += xStep) {
      text(svg, across(x, xMin, xMax), HEIGHT - BOTTOM + 16, "middle", "tick", number(x));
    }
    for (int n = 0; n < series.size(); n++) {
      Series s = series.get(n);
      svg.append("<polyline class=\"line s").append(n).append("\" points=\"");
      for (int i = 0; i < s.x().length; i++) {
        if (!Double.isNaN(s.y()[i])) {
          svg.append(coordinates(across(s.x()[i], xMin, xMax), up(s.y()[i], low, high)));
        }
      }
      svg.append("\"/>");
    }
    legend(svg, series.stream().map(Series::name).toList());
    return svg.append("</svg>\n").toString();
  }

  /** Groups of bars from 0; {@code values[group][bar]}, NaN for none. */
  static String bars(String yLabel, List<String> groups, List<String> names, double[][] values) {
    double most = 0;
    for (double[] group : values) {
      for (double value : group) {
        most = Double.isNaN(value) ? most : Math.max(most, value);
      }
    }
    double step = niceStep(most / 5);
    double high = Math.max(step, Math.ceil(most / step) * step);
    StringBuilder svg = open("", yLabel);
    grid(svg, 0, high, step);
    double slot = (double) (WIDTH - LEFT - RIGHT) / groups.size();
    double width = Math.min(56, slot * 0.8 / names.size());
    for (int g = 0; g < groups.size(); g++) {
      double middle = LEFT + (g + 0.5) * slot;
      text(svg, middle, HEIGHT - BOTTOM + 16, "middle", "tick", groups.get(g));
      for (int n = 0; n < names.size(); n++) {
        double value = values[g][n];
        if (Double.isNaN(value)) {
          continue;
        }
        double x = middle + (n - names.size() / 2.0) * width;
        double y = up(value, 0, high);
        svg.append(
            String.format(
                Locale.ROOT,
                "<rect class=\"bar s%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\""
                    + " rx=\"2\"/>",
                n,
                x + 2,
                y,
                width - 4,
                HEIGHT - BOTTOM - y));
        text(svg, x + width / 2, y - 4, "middle", "tick", number(value));
      }
    }
    legend(svg, names);
    return svg.append("</svg>\n").toString();
  }

  private static StringBuilder open(String xLabel, String yLabel) {
    StringBuilder svg = new StringBuilder("<svg viewBox=\"0 0 ");
    svg.append(WIDTH).append(' ').append(HEIGHT).append("\" role=\"img\" aria-label=\"");
    svg.append(Html.escaped(yLabel)).append("\">");
    text(svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6, "middle", "label", xLabel);
    svg.append("<g transform=\"translate(14 ").append((TOP + HEIGHT - BOTTOM) / 2);
    svg.append(") rotate(-90)\">");
    text(svg, 0, 0, "middle", "label", yLabel);
    return svg.append("</g>");
  }

  private static void grid(StringBuilder svg, double low, double high, double step) {
    for (int i = 0; low + i * step <= high + step / 1e6; i++) {
      double value = low + i * step;
      double y = up(value, low, high);
      svg.append(
          String.format(
              Locale.ROOT,
              "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>",
              LEFT,
              y,
              WIDTH - RIGHT,
              y));
      text(svg, LEFT - 6, y + 4, "end", "tick", number(value));
    }
  }

  private static void legend(StringBuilder svg, List<String> names) {
    if (names.size() < 2) {
      return;
    }
    double x = WIDTH - RIGHT - 8;
    for (int n = names.size() - 1; n >= 0; n--) {
      x -= 7.0 * names.get(n).length() + 30;
      svg.append(
          String.format(
              Locale.ROOT,
              "<rect class=\"bar s%d\" x=\"%.1f\" y=\"%d\" width=\"12\" height=\"12\" rx=\"2\"/>",
              n,
              x,
              TOP - 8));
      text(svg, x + 17, TOP + 2, "start", "tick", names.get(n));
    }
  }

  private static void text(
      StringBuilder svg, double x, double y, String anchor, String style, String text) {
    svg.append(
        String.format(
            Locale.ROOT,
            "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>",
            style,
            x,
            y,
            anchor,
            Html.escaped(text)));
  }

  private static String coordinates(double x, double y) {
    return String.format(Locale.ROOT, "%.1f,%.1f ", x, y);
  }

  private static double across(double x, double low, double high) {
    return LEFT + (x - low) / Math.max(1e-12, high - low) * (WIDTH - LEFT - RIGHT);
  }

  private static double up(double y, double low, double high) {
    return HEIGHT - BOTTOM - (y - low) / Math.max(1e-12, high - low) * (HEIGHT - BOTTOM - TOP - 12);
  }

  /** 1, 2 or 5 times a power of ten, at least {@code raw}. */
  static double niceStep(double raw) {
    double unit = Math.pow(10, Math.floor(Math.log10(Math.max(raw, 1e-9))));
    for (double factor : new double[] {1, 2, 5}) {
      if (raw <= factor * unit * (1 + 1e-9)) {
        return factor * unit;
      }
    }
    return 10 * unit;
  }

  /** Three significant digits, without needless zeros. */
  static String number(double value) {
    if (value == 0) {
      return "0";
    }
    int digits = 2 - (int) Math.floor(Math.log10(Math.abs(value)) + 1e-9);
    String text = String.format(Locale.ROOT, "%." + Math.max(0, Math.min(6, digits)) + "f", value);
    return text.contains(".") ? text.replaceAll("\\.?0+$", "") : text;
  }
}

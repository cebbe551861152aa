package org.mixedgpu.cake.quickstart;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.StringReader;
import java.util.List;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.mixedgpu.cake.quickstart.spark.ClusterRun;
import org.w3c.dom.Document;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

class ReportTest {
  @Test
  void aLinePlotIsWellFormedAndKeepsItsPointsInside() throws Exception {
    String svg =
        Svg.lines(
            "step",
            "loss & <more>",
            false,
            List.of(
                new Svg.Series("a", new double[] {1, 2, 3}, new double[] {5.5, Double.NaN, 2.25}),
                new Svg.Series("b", new double[] {1, 2, 3}, new double[] {4, 3, 2})));
    NodeList lines = parsed(svg).getElementsByTagName("polyline");
    assertThat(lines.getLength()).isEqualTo(2);
    String[] points =
        lines.item(0).getAttributes().getNamedItem("points").getTextContent().strip().split(" ");
    assertThat(points).as("the missing value has no point").hasSize(2);
    for (String point : points) {
      assertThat(Double.parseDouble(point.split(",", -1)[0])).isBetween(0.0, 720.0);
      assertThat(Double.parseDouble(point.split(",", -1)[1])).isBetween(0.0, 280.0);
    }
  }

  @Test
  void barsGrowFromZeroWithTheirValue() throws Exception {
    String svg = Svg.bars("ms", List.of("g"), List.of("x", "y"), new double[][] {{10, 20}});
    NodeList bars = parsed(svg).getElementsByTagName("rect");
    double first = height(bars, 0);
    assertThat(height(bars, 1)).isBetween(first * 1.99, first * 2.01);
  }

  @Test
  void numbersAreShort() {
    assertThat(Svg.number(0.05)).isEqualTo("0.05");
    assertThat(Svg.number(1234.5)).isEqualTo("1235");
    assertThat(Svg.number(2.5)).isEqualTo("2.5");
    assertThat(Svg.niceStep(0.3)).isEqualTo(0.5);
    assertThat(Svg.niceStep(7)).isEqualTo(10);
  }

  @Test
  void thePageEscapesTextAndNamesNoOtherFile() {
    String page = new Html("a < b").paragraph("x & y").page();
    assertThat(page).contains("a &lt; b", "x &amp; y").doesNotContain("http", "src=", "<script");
  }

  @Test
  void aFallingCurveGoesFromTopLeftToBottomRight() {
    String[] lines = Terminal.curve(new double[] {3, 2, 1}, 3, 60).split("\n", -1);
    assertThat(lines[0]).isEqualTo("   3.000 |*  ");
    assertThat(lines[2]).isEqualTo("   1.000 |  *");
  }

  @Test
  void theReportTellsColdFromWarmPromptsAndWhetherModesAgree() {
    List<ClusterRun.Prefilled> rows =
        List.of(
            new ClusterRun.Prefilled(0, 1000, 1000, 0, 0, 90, "a", "OK"),
            new ClusterRun.Prefilled(1, 1000, 50, 0, 950, 4, "b", "OK"));
    PrefillTable.Pass compute = new PrefillTable.Pass("compute", rows, 2);
    assertThat(compute.coldMillis()).isEqualTo(90);
    assertThat(compute.warmMillis()).isEqualTo(4);
    PrefillTable.Pass other =
        new PrefillTable.Pass(
            "load",
            List.of(rows.get(0), new ClusterRun.Prefilled(1, 1000, 50, 0, 950, 4, "c", "OK")),
            2);
    assertThat(PrefillTable.agree(List.of(compute, compute))).isTrue();
    assertThat(PrefillTable.agree(List.of(compute, other))).isFalse();
    ClusterRun.Training training =
        new ClusterRun.Training(
            "folder",
            List.of(
                new ClusterRun.Step(1, 5.5, 100, 0.5, 0.75),
                new ClusterRun.Step(2, 4.5, 100, 0.5, 0.75)),
            11);
    List<Prompts.Prompt> prompts =
        List.of(new Prompts.Prompt("few-shot", "x", "t"), new Prompts.Prompt("question", "y", "u"));
    Report report = new Report(training, prompts, List.of(compute, other));
    assertThat(report.text())
        .contains("Loss 5.500 -> 4.500", "attention side 50 %, expert side 75 %")
        .contains("same next tokens: false");
    assertThat(report.html(60)).contains("5.5 → 4.5", "prefix not in memory", "<td>load</td>");
  }

  @Test
  void aPromptThatFailedIsNotHiddenInATable() {
    assertThatThrownBy(
            () ->
                new PrefillTable.Pass(
                    "cake", List.of(new ClusterRun.Prefilled(0, 1, 1, 0, 0, 1, "", "CORRUPT")), 1))
        .hasMessage("Prompt 0 of pass cake: CORRUPT");
  }

  private static double height(NodeList bars, int index) {
    return Double.parseDouble(
        bars.item(index).getAttributes().getNamedItem("height").getTextContent());
  }

  private static Document parsed(String svg) throws Exception {
    return DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(svg)));
  }
}

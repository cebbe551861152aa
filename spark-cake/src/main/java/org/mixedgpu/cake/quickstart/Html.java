package org.mixedgpu.cake.quickstart;

import java.util.List;

/** A self-contained page: headings, paragraphs, tables and plots, no script, no other file. */
final class Html {
  private static final String STYLE =
      """
      :root{--bg:#fbfbfa;--card:#fff;--ink:#22242a;--soft:#6b7078;--rule:#e4e5e7;
        --s0:#2f6fdb;--s1:#d9822b;--s2:#2a9d6f;--s3:#a04fbf}
      @media (prefers-color-scheme:dark){:root{--bg:#16181c;--card:#1f2227;--ink:#e7e8ea;
        --soft:#9aa0a8;--rule:#343940;--s0:#6ea0f5;--s1:#eaa55c;--s2:#5cc79b;--s3:#c78be0}}
      *{box-sizing:border-box}
      body{margin:0;background:var(--bg);color:var(--ink);
        font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
      main{max-width:820px;margin:0 auto;padding:40px 20px 64px}
      h1{font-size:28px;line-height:1.2;margin:0 0 6px}
      h2{font-size:19px;margin:36px 0 10px}
      p{margin:8px 0} .soft{color:var(--soft)}
      figure{margin:14px 0;padding:14px;background:var(--card);border:1px solid var(--rule);
        border-radius:8px;overflow-x:auto}
      figcaption{color:var(--soft);font-size:14px;margin-top:6px}
      svg{display:block;width:100%;height:auto}
      table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
      th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--rule)}
      th:first-child,td:first-child{text-align:left}
      th{color:var(--soft);font-weight:500;font-size:14px}
      .facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
        margin:20px 0}
      .fact{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px}
      .fact b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
      .fact span{color:var(--soft);font-size:14px}
      .grid{stroke:var(--rule)} .tick{fill:var(--soft);font-size:12px}
      .label{fill:var(--soft);font-size:13px} .line{fill:none;stroke-width:2;stroke-linejoin:round}
      .line.s0{stroke:var(--s0)} .line.s1{stroke:var(--s1)} .line.s2{stroke:var(--s2)}
      .line.s3{stroke:var(--s3)}
      .bar.s0{fill:var(--s0)} .bar.s1{fill:var(--s1)} .bar.s2{fill:var(--s2)} .bar.s3{fill:var(--s3)}
      """;

  private final String title;
  private final StringBuilder body = new StringBuilder();

  Html(String title) {
    this.title = title;
  }

  Html heading(String text) {
    body.append("<h2>").append(escaped(text)).append("</h2>\n");
    return this;
  }

  Html paragraph(String text) {
    body.append("<p>").append(escaped(text)).append("</p>\n");
    return this;
  }

  /** Big numbers in a row: pairs of value and meaning. */
  Html facts(List<String[]> facts) {
    body.append("<div class=\"facts\">");
    for (String[] fact : facts) {
      body.append("<div class=\"fact\"><b>").append(escaped(fact[0])).append("</b><span>");
      body.append(escaped(fact[1])).append("</span></div>");
    }
    body.append("</div>\n");
    return this;
  }

  Html plot(String svg, String caption) {
    body.append("<figure>").append(svg).append("<figcaption>").append(escaped(caption));
    body.append("</figcaption></figure>\n");
    return this;
  }

  Html table(List<String> head, List<List<String>> rows) {
    body.append("<figure><table><tr>");
    head.forEach(cell -> body.append("<th>").append(escaped(cell)).append("</th>"));
    body.append("</tr>\n");
    for (List<String> row : rows) {
      body.append("<tr>");
      row.forEach(cell -> body.append("<td>").append(escaped(cell)).append("</td>"));
      body.append("</tr>\n");
    }
    body.append("</table></figure>\n");
    return this;
  }

  String page() {
    return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        + "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>"
        + escaped(title)
        + "</title>\n<style>\n"
        + STYLE
        + "</style></head>\n<body><main>\n<h1>"
        + escaped(title)
        + "</h1>\n"
        + body
        + "</main></body></html>\n";
  }

  static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }
}

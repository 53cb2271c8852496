#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/test_paths.h"
#include "text/jinja_json.h"
#include "text/jinja_template.h"

namespace fathom {
namespace {

using jinja::Value;

jinja::Text render(const std::string& source, const Json& context = Json::object(), const jinja::RenderOptions& options = {}) {
  jinja::Dict values;
  for (const auto& [key, value] : context.members())
    values.set(Value(key), jinja::value_of_json(value.dump(), key, jinja::kData));
  return jinja::Template(source, "test").render(values, options);
}
std::string refusal(const std::string& source, const Json& context = Json::object()) {
  try {
    return "rendered " + render(source, context).bytes();
  } catch (const Error& error) {
    return error.what();
  }
}

// What jinja2 itself gives for each of them.
TEST(Jinja, EqualsJinja2) {
  const Json file = read_json_file(source_path("src/text/jinja_cases.json"));
  jinja::RenderOptions options;
  ASSERT_NE(::strptime(file["now"].get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%S", &options.now), nullptr);
  int texts = 0, errors = 0;
  for (const Json& c : file["cases"]) {
    const std::string source = c["template"].text();
    std::string text, error;
    try {
      text = render(source, file["context"], options).bytes();
    } catch (const Error& e) {
      error = e.what();
    }
    if (c.contains("error")) {
      ++errors;
      EXPECT_NE(error, "") << source << "\n  rendered " << text << "\n  jinja2: " << c["error"];
    } else {
      ++texts;
      EXPECT_EQ(error, "") << source;
      EXPECT_EQ(text, c["text"].get<std::string>()) << source;
    }
  }
  EXPECT_GT(texts, 90);
  EXPECT_GT(errors, 40);
}

TEST(Jinja, ErrorsNameLineAndReason) {
  EXPECT_EQ(refusal("a\nb\n{{ x.y.z }}"), "[chat template] test, line 3: 'x' is undefined");
  EXPECT_EQ(refusal("{% if 1 %}\n\n{{ 1 + }}{% endif %}"), "[chat template] test, line 3: unexpected '}}'");
  EXPECT_NE(refusal("\n{% for x in [1] %}").find("line 2: the template ends before {% endfor %}"), std::string::npos);
  EXPECT_NE(refusal("\n{{ raise_exception('say\nthis') }}").find("line 2: say"), std::string::npos);
  EXPECT_NE(refusal("{{ x|nofilter }}").find("no filter named 'nofilter'"), std::string::npos);
  EXPECT_NE(refusal("{% include 'x' %}").find("unsupported tag 'include'"), std::string::npos);
  EXPECT_NE(
      refusal("{{ m.content.startswith('x') }}", {{"m", {{"content", Json::array()}}}}).find("has no attribute 'startswith'"),
      std::string::npos);
}

TEST(Jinja, WorkAndNestingAreBounded) {
  const auto refused = [](const std::string& source, const std::string& reason) {
    const std::string error = refusal(source);
    EXPECT_NE(error.find(reason), std::string::npos) << source.substr(0, 60) << ": " << error.substr(0, 200);
  };
  refused("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps");
  refused("{% set ns = namespace(x='ab') %}{% for i in range(99999) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "");
  refused("{{ 'x' * 1000000000000 }}", "too large");
  refused("{{ [0] * 1000000000000 }}", "too large");
  refused("{{ range(1000000000000) }}", "range too big");
  refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply");
  refused("{% set ns = namespace() %}{% set ns.x = [ns] %}{% set ns.x = [ns.x] %}{{ 10 ** 100 }}", "too large");
  refused("{{ 9 ** 9 ** 9 ** 9 }}", "too large");
  refused("{{ '%201d' % 1 }}", "above 200");
  const auto repeat = [](const std::string& s, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += s;
    return out;
  };
  refused("{{ " + repeat("(", 1000) + "1" + repeat(")", 1000) + " }}", "nested too deeply");
  refused("{{ " + repeat("[", 1000) + repeat("]", 1000) + " }}", "nested too deeply");
  refused("{{ " + repeat("-", 100000) + "1 }}", "nested too deeply");
  refused("{{ " + repeat("not ", 100000) + "1 }}", "nested too deeply");
  refused("{{ 1" + repeat(" + 1", 100000) + " }}", "too long");
  refused("{{ x" + repeat(".x", 100000) + " }}", "too long");
  refused("{{ x" + repeat("|trim", 100000) + " }}", "too long");
  refused(repeat("{% if 1 %}", 100000), "nested too deeply");
  refused("{{ 1 if 1 else " + repeat("1 if 1 else ", 10000) + "1 }}", "nested too deeply");
  // A namespace that holds itself is no leak and no endless text.
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}").bytes(), "<Namespace>");
}

// Data is lower-case letters and <>, the template's own text capitals: every byte of the result must know which it is.
TEST(Jinja, TextFromDataIsKnownThroughEveryFilter) {
  const Json context = {{"c", " <end>abc <end> "},
                        {"list", {"<end>", "b<end>"}},
                        {"dict", {{"<key>", "<value>"}, {"n", {{"deep", "<end>"}}}}},
                        {"messages", {{{"role", "<user>"}, {"content", "<a>\n<b>"}}}}};
  for (const std::string source :
       {"{{ c }}A{{ c | trim }}", "{{ 'X' + c + 'Y' ~ c ~ 'Z' }}",
        "{{ c.strip() }}{{ c.lstrip() }}{{ c[2:-2] }}{{ c[::-1] }}{{ c[3] }}",
        "{{ c.split() }}{{ c.split('<')[1] }}{{ c.rsplit('>', 1) }}{{ c.partition('c') }}",
        "{{ c.replace('a', 'A') }}{{ 'XaY'.replace('a', c) }}{{ c | replace('<', 'Q') }}",
        "{{ list | join('J') }}{{ 'J'.join(list) }}{{ list }}{{ list | tojson }}{{ list | string }}",
        "{{ dict }}{{ dict | tojson }}{{ dict | tojson(indent=2) }}{{ dict | items | list }}",
        "{% for k, v in dict.items() %}{{ k }}K{{ v }}{% endfor %}{{ dict | list }}",
        "{% for x in c %}{{ x }}A{% endfor %}{{ c | list }}{{ c | reverse }}",
        "{% set x %}A{{ c }}B{% endset %}{{ x }}{{ x | indent(2) }}{{ x | center(40) }}",
        "{% macro m(a) %}A{{ a }}B{{ caller() }}{% endmacro %}{% call m(c) %}C{{ c }}{% endcall %}",
        "{% filter trim %} A{{ c }} {% endfilter %}{{ '%s A' % c }}{{ 'A%sB' | format(c) }}",
        "{{ 'A{}B'.format(c) }}{{ c | default('A') }}{{ list | map('trim') | join }}",
        "{{ messages[0].role }}A{{ messages[0]['content'].splitlines() }}{{ messages | first }}",
        "{{ messages | map(attribute='role') | join('A') }}{{ list | first ~ list | last }}",
        "{{ (c if c else 'A') * 2 }}{{ c.ljust(30) }}{{ c | truncate(8, true, 'A') }}{{ c.zfill(30) }}",
        "{% set ns = namespace(x=c) %}{% set ns.x = ns.x + 'A' + c %}{{ ns.x }}",
        "{{ list | sort | join('A') }}{{ list | unique | join }}{{ list | batch(1) | list }}",
        "{{ c | e }}{{ c | urlencode }}{{ c | title | lower }}{{ c.removeprefix(' ') }}"}) {
    const jinja::Text text = render(source, context);
    EXPECT_FALSE(text.empty());
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      const bool data = (c >= 'a' && c <= 'z') || c == '<' || c == '>';
      const bool own = c >= 'A' && c <= 'Z' && source.find("title") == std::string::npos;
      EXPECT_FALSE(data && text.marks()[i] == jinja::kTemplate) << source << "\n" << text.bytes() << " at " << i;
      EXPECT_FALSE(own && text.marks()[i] != jinja::kTemplate) << source << "\n" << text.bytes() << " at " << i;
    }
  }
}

}  // namespace
}  // namespace fathom

#include "json.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {

constexpr JsonRules rules{.max_bytes = 1'048'576, .max_depth = 32};

std::string nested(std::size_t depth, const std::string& open, const std::string& close) {
    std::string text = "{\"a\":";
    for (std::size_t i = 1; i < depth; ++i)
        text += open;
    text += "1";
    for (std::size_t i = 1; i < depth; ++i)
        text += close;
    return text + "}";
}

// The only finding of a text that is refused.
Finding refused(std::string_view text, const JsonRules& with = rules) {
    CAPTURE(text.substr(0, 60));
    const auto document = parse_json(text, with);
    REQUIRE_FALSE(document.has_value());
    REQUIRE(document.error().size() == 1);
    return document.error()[0];
}

}  // namespace

TEST_CASE("A JSON object is read in its order", "[json]") {
    const auto document = parse_json(
        " {\"z\": [1, -2, 3.5, true, false, null, \"\\u00e9\\n\"], \"a\": {\"b\": {}}, \"\": "
        "[]}\r\n",
        rules);
    REQUIRE(document.has_value());
    CHECK(document->dump() ==
          "{\"z\":[1,-2,3.5,true,false,null,\"\xc3\xa9\\n\"],\"a\":{\"b\":{}},\"\":[]}");
    const Json::Array& values = (*document)["z"].elements();
    CHECK(values[0].is_unsigned());
    CHECK(values[1].is_negative_integer());
    CHECK((values[2].is_number() && !values[2].is_unsigned() && !values[2].is_negative_integer()));
    CHECK(values[3].is_boolean());
    CHECK(values[5].is_null());
    CHECK(values[6].is_text());
}

TEST_CASE("What is printed is what nlohmann_json prints", "[json]") {
    for (
        const std::string_view text :
        {R"({})", R"({"a":{},"b":[],"c":[{}],"d":[[]],"e":""})",
         R"({"z":1,"a":[1,2,{"b":[true,false,null]}],"m":{"n":{"o":"p"}}})",
         R"({"a":0,"b":-0,"c":0.0,"d":-0.0,"e":1.0,"f":0.1,"g":1e300,"h":5e-324,"i":1e22,"j":1e5})",
         R"({"a":18446744073709551615,"b":18446744073709551616,"c":-9223372036854775808,)"
         R"("d":-9223372036854775809,"e":9007199254740993})",
         R"({"\u0000\"\\/\b\f\n\r\t\u001f\u007f":"\u20ac\ud83d\ude00\u0085\u2028"})"}) {
        const auto document = parse_json(text, rules);
        REQUIRE(document.has_value());
        const auto expected = nlohmann::ordered_json::parse(text);
        CHECK(document->dump() == expected.dump());
        CHECK(document->dump_indented() == expected.dump(2));
    }
    CHECK(Json("\xff\x80").dump() == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST_CASE("A copy is a value of its own, and what is moved stays where it is", "[json]") {
    Json tree = {{"a", Json::array({1, "x"})}, {"b", {{"c", nullptr}}}};
    const Json copy = tree;
    tree["a"].elements().emplace_back(true);
    tree["b"]["c"] = Json::array({copy});
    CHECK(copy.dump() == R"({"a":[1,"x"],"b":{"c":null}})");
    CHECK(tree.dump() == R"({"a":[1,"x",true],"b":{"c":[{"a":[1,"x"],"b":{"c":null}}]}})");
    const Json* const inner = tree.find("b");
    const std::string* const text = &tree["a"].elements()[1].text();
    Json moved = std::move(tree);
    CHECK(&moved["a"].elements()[1].text() == text);
    CHECK(moved.find("b") == inner);
    moved["b"] = std::move(moved["b"]["c"]);  // a part takes the place of the whole
    CHECK(moved["b"] == Json::array({copy}));
    moved = moved["b"].elements()[0];
    CHECK(moved == copy);
    CHECK(moved.find("x") == nullptr);
    CHECK(std::as_const(moved)["x"].is_null());
    CHECK(Json(1).find("x") == nullptr);
}

TEST_CASE("A vector is an array, which grows", "[json]") {
    Json array(std::vector<std::string>{"one", "two"});
    array.push_back(3);
    array.push_back(Json::object());
    CHECK(array.dump() == R"(["one","two",3,{}])");
    CHECK(Json(std::vector<int>{}).dump() == "[]");
}

TEST_CASE("Numbers are compared by their worth, objects by their order too", "[json]") {
    const auto same = [](std::string_view a, std::string_view b) {
        return *parse_json(a, rules) == *parse_json(b, rules);
    };
    CHECK(same(R"({"a":1})", R"({"a":1.0})"));
    CHECK(same(R"({"a":-3})", R"({"a":-3.0})"));
    CHECK(same(R"({"a":[1,"x",null,true,{}]})", R"({"a":[1e0,"x",null,true,{}]})"));
    CHECK(same(R"({"a":-0})", R"({"a":0})"));
    CHECK_FALSE((*parse_json(R"({"a":-0})", rules))["a"].is_unsigned());
    CHECK_FALSE(same(R"({"a":1})", R"({"a":"1"})"));
    CHECK_FALSE(same(R"({"a":1})", R"({"a":true})"));
    CHECK_FALSE(same(R"({"a":0})", R"({"a":null})"));
    CHECK_FALSE(same(R"({"a":[]})", R"({"a":{}})"));
    CHECK_FALSE(same(R"({"a":1,"b":2})", R"({"b":2,"a":1})"));
    CHECK_FALSE(same(R"({"a":-9223372036854775808})", R"({"a":-9223372036854775807})"));
    CHECK_FALSE(same(R"({"a":18446744073709551615})", R"({"a":18446744073709551614})"));
    CHECK_FALSE(same(R"({"a":false})", R"({"a":true})"));
}

TEST_CASE("What is not JSON is refused where it starts to be wrong", "[json]") {
    const std::pair<std::string_view, std::uint64_t> cases[] = {
        {"", 0},
        {"   ", 3},
        {"{", 1},
        {"{\"a\":1", 6},
        {"{\"a\":1}x", 7},
        {"{\"a\":1}{}", 7},
        {"{\"a\":1,}", 7},
        {"{'a':1}", 1},
        {"{\"a\":nan}", 6},
        {"{\"a\":NaN}", 5},
        {"{\"a\":01}", 6},
        {"{\"a\":1 // no\n}", 7},
        {"{\"a\":\"\t\"}", 6},
        {"{\"a\":\"\\ud800\"}", 12},
    };
    for (const auto& [text, offset] : cases) {
        const Finding finding = refused(text);
        CAPTURE(text, finding.message);
        CHECK(finding.code == FindingCode::bad_json);
        CHECK(finding.offset == offset);
    }
}

TEST_CASE("The message gives line, column and reason, but none of the text", "[json]") {
    const Finding finding = refused("{\n  \"a\": secret\n}");
    CHECK(finding.message.find("line 2, column 8") == 0);
    CHECK(finding.message.find("secret") == std::string::npos);
    CHECK(finding.pointer == "/a");
    CHECK(refused("{").pointer.empty());
    CHECK(refused("{\"a\":1,}").pointer.empty());
    CHECK(refused("{\"a\":{\"b\":[[],[x]]}}").pointer == "/a/b/1/0");
}

TEST_CASE("Only an object is a document", "[json]") {
    for (const char* text : {"[]", "1", "\"a\"", "null", "true", " [1]"}) {
        CHECK(refused(text).code == FindingCode::bad_json);
    }
    CHECK(refused(" [1]").offset == 1);
}

TEST_CASE("A BOM, a NUL and invalid UTF-8 are refused", "[json]") {
    CHECK(refused("\xef\xbb\xbf{}").code == FindingCode::bad_json);
    CHECK(refused("\xef\xbb\xbf{}").offset == 0);
    CHECK(refused(std::string_view("{}\0", 3)).offset == 2);
    CHECK(refused(std::string_view("{}\0{}", 5)).code == FindingCode::bad_json);
    CHECK(refused(std::string_view("{\"a\":\"\0\"}", 9)).offset == 6);
    for (const char* text : {"{\"\x80\":1}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}",
                             "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"\xff\"}",
                             "{\"a\":\"\xe2\x82\"}", "{\xc2\xa0}", "{}\xff"}) {
        CHECK(refused(text).code == FindingCode::bad_json);
    }
}

TEST_CASE("A number that no double holds is refused", "[json]") {
    CHECK(refused("{\"a\":1e400}").code == FindingCode::bad_json);
    CHECK(refused("{\"a\":-1e400}").code == FindingCode::bad_json);
    CHECK(refused("{\"a\":{\"b\":[0,1e400]}}").pointer == "/a/b/1");
    CHECK(parse_json("{\"a\":1e308}", rules).has_value());
    CHECK(parse_json("{\"a\":1e-400}", rules).has_value());
    const auto wide = parse_json("{\"a\":123456789012345678901234567890}", rules);
    CHECK((*wide)["a"].number() == 123456789012345678901234567890.0);
    CHECK_FALSE((*wide)["a"].is_unsigned());
}

TEST_CASE("Every duplicate key is reported with its pointer and place", "[json]") {
    const auto document = parse_json(
        R"({"a":1,"b":{"c":1,"c":2,"d":[0,{"x/y":1,"~":2,"x/y":3}]},"a":2,"a":3,"\"":1,"\u0022":2})",
        rules);
    REQUIRE_FALSE(document.has_value());
    const std::vector<std::pair<std::string, std::uint64_t>> expected = {
        {"/b/c", 18}, {"/b/d/1/x~1y", 46}, {"/a", 57}, {"/a", 63}, {"/\"", 76}};
    REQUIRE(document.error().size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const Finding& finding = document.error()[i];
        CHECK(finding.code == FindingCode::duplicate_key);
        CHECK(finding.pointer == expected[i].first);
        CHECK(finding.offset == expected[i].second);
    }
    CHECK(refused(R"({"~a":0,"~a":0})").pointer == "/~0a");
    // The same key in different objects is no duplicate.
    CHECK(parse_json(R"({"a":{"a":{"a":1}},"b":{"a":1}})", rules).has_value());
}

TEST_CASE("Duplicates before a syntax error are reported too", "[json]") {
    const auto document = parse_json(R"({"a":1,"a":2,)", rules);
    REQUIRE_FALSE(document.has_value());
    REQUIRE(document.error().size() == 2);
    CHECK(document.error()[0].code == FindingCode::duplicate_key);
    CHECK(document.error()[1].code == FindingCode::bad_json);
}

TEST_CASE("The limits of bytes and depth, at and one past", "[json]") {
    std::string text = "{\"a\":\"" + std::string(rules.max_bytes - 8, 'x') + "\"}";
    REQUIRE(text.size() == rules.max_bytes);
    CHECK(parse_json(text, rules).has_value());
    text += ' ';
    CHECK(refused(text).code == FindingCode::limit_exceeded);

    CHECK(parse_json(nested(32, "[", "]"), rules).has_value());
    CHECK(refused(nested(33, "[", "]")).code == FindingCode::limit_exceeded);
    CHECK(parse_json(nested(32, "{\"a\":", "}"), rules).has_value());
    const Finding finding = refused(nested(33, "{\"a\":", "}"));
    CHECK(finding.code == FindingCode::limit_exceeded);
    CHECK(finding.offset == 5 * 32);
    CHECK(refused("{\"a\":[]}", {.max_bytes = 100, .max_depth = 1}).code ==
          FindingCode::limit_exceeded);
    CHECK(parse_json("{\"a\":1}", {.max_bytes = 100, .max_depth = 1}).has_value());
}

TEST_CASE("A hundred thousand levels, keys or duplicates stay cheap", "[json]") {
    CHECK(refused(nested(100'000, "[", "]")).code == FindingCode::limit_exceeded);
    CHECK(refused("{\"a\":" + std::string(100'000, '[')).code == FindingCode::limit_exceeded);
    CHECK(refused(std::string(100'000, '[')).code == FindingCode::bad_json);

    std::string keys = "{";
    for (int i = 0; i < 90'000; ++i)
        keys += "\"" + std::to_string(i) + "\":0,";
    keys.back() = '}';
    CHECK(parse_json(keys, rules).has_value());

    std::string duplicates = "{\"" + std::string(400'000, 'k') + "\":{";
    for (int i = 0; i < 100'000; ++i)
        duplicates += "\"\":0,";
    duplicates.back() = '}';
    const auto document = parse_json(duplicates + "}", rules);
    REQUIRE_FALSE(document.has_value());
    CHECK(document.error().size() == 1'000);
    CHECK(document.error()[0].pointer.empty());
}

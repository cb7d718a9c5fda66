// A validator of JSON Schemas that this project did not write. Reads from stdin
// {"schemas": {name: schema}, "documents": [[name, document], ...]} and prints for each document
// a line: 1 when its schema accepts it, else 0.

#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

int main() {
    using valijson::adapters::NlohmannJsonAdapter;
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    const nlohmann::json input = nlohmann::json::parse(text);
    std::map<std::string, valijson::Schema> schemas;
    for (const auto& [name, schema] : input.at("schemas").items()) {
        valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
        parser.populateSchema(NlohmannJsonAdapter(schema), schemas[name]);
    }
    for (const auto& entry : input.at("documents")) {
        valijson::Validator validator;
        const bool good = validator.validate(schemas.at(entry.at(0).get<std::string>()),
                                             NlohmannJsonAdapter(entry.at(1)), nullptr);
        std::puts(good ? "1" : "0");
    }
}

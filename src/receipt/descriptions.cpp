#include "descriptions.hpp"

namespace trlm::adapt::document {

void RoundingRule::read(const Json& json, Rounding& value, const Place& place) const {
    if (json.is_text()) {
        if (const auto rounding = parse_rounding(json.text())) {
            value = *rounding;
            return;
        }
    }
    place.refuse(json, "nearest, stochastic:SEED or adaptive:SEED");
}

Json RoundingRule::schema() {
    return {{"type", "string"}, {"pattern", "^(nearest|(stochastic|adaptive):[0-9]{1,20})$"}};
}

void ClaimRule::read(const Json& json, Claim& value, const Place& place) const {
    if (json.is_null()) {
        value = std::monostate{};
    } else if (json.is_boolean()) {
        value = json.boolean();
    } else if (json.is_text()) {
        value = json.text();
    } else {
        place.refuse(json, "a text, true, false or null");
    }
}

Json ClaimRule::write(const Claim& value) {
    if (const auto* yes = std::get_if<bool>(&value)) return *yes;
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
    return nullptr;
}

Json ClaimRule::schema() {
    return {{"type", Json::array({"string", "boolean", "null"})}};
}

void RangeRule::read(const Json& json, StrengthRange& value, const Place& place) const {
    if (!json.is_array() || json.elements().size() != 2) {
        place.refuse(json, "an array of two numbers, the least and the largest strength");
        return;
    }
    const std::size_t findings_before = place.findings->size();
    Number{}.read(json.elements()[0], value.min, place.element(0));
    Number{}.read(json.elements()[1], value.max, place.element(1));
    if (place.findings->size() > findings_before || value.min <= value.max) return;
    place.add(FindingCode::bad_value,
              "the range ends before it starts, so that no strength lies in it; swap the two");
}

Json RangeRule::write(const StrengthRange& value) {
    return Json::array({value.min, value.max});
}

Json RangeRule::schema() {
    return {{"type", "array"}, {"items", {{"type", "number"}}}, {"minItems", 2}, {"maxItems", 2}};
}

}  // namespace trlm::adapt::document

"""What moves a score, in kinds that a person can tell apart: every column that a model reads belongs to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from valuecast.features.catalogue import Feature
from valuecast.language import Text

SILENCE: Final = "silence"
FREQUENCY: Final = "frequency"
TREND: Final = "trend"
RHYTHM: Final = "rhythm"
MONEY: Final = "money"
RETURNS: Final = "returns"
RANGE: Final = "range"
TENURE: Final = "tenure"
HABITS: Final = "habits"
FIELDS: Final = "fields"
PROFILE: Final = "profile"
SEASON: Final = "season"
ORDER: Final = "order"


@dataclass(frozen=True)
class Driver:
    """A kind of cause: its code, what a person calls it, and what belongs to it."""

    code: str
    label: Text
    what: Text


DRIVERS: Final[dict[str, Driver]] = {
    driver.code: driver
    for driver in (
        Driver(
            SILENCE,
            Text("Time since the last purchase", "距上次购买的时间"),
            Text(
                "how long ago the user last bought or came, also against the usual gap",
                "距上次购买或来访多久，以及与平时间隔相比",
            ),
        ),
        Driver(
            FREQUENCY,
            Text("How often", "购买频率"),
            Text("numbers of purchases and other events", "购买及其他事件的次数"),
        ),
        Driver(TREND, Text("Trend", "变化趋势"), Text("whether it is more or less than before", "与此前相比是增是减")),
        Driver(
            RHYTHM, Text("Rhythm", "购买节奏"), Text("gaps between purchases, and their spread", "购买间隔及其波动")
        ),
        Driver(
            MONEY, Text("Spend", "消费金额"), Text("how much is spent, in all and at a time", "总消费与单次消费金额")
        ),
        Driver(RETURNS, Text("Returns", "退货"), Text("what was sent back", "退货与退款")),
        Driver(
            RANGE,
            Text("What is bought", "购买品类"),
            Text("how many different items, and of which kinds", "商品种数与品类构成"),
        ),
        Driver(TENURE, Text("Time as a customer", "客户时长"), Text("how long ago it began", "首次出现至今多久")),
        Driver(HABITS, Text("Habits", "购物习惯"), Text("weekdays and times of day", "星期与时段偏好")),
        Driver(
            FIELDS, Text("The shop's own numbers", "店铺自有字段"), Text("numeric fields of events", "事件中的数值字段")
        ),
        Driver(PROFILE, Text("Profile", "用户属性"), Text("what the shop knows of the user", "店铺登记的用户属性")),
        Driver(SEASON, Text("Season", "季节"), Text("the time of the year", "一年中的时间")),
        Driver(
            ORDER,
            Text("Sequence of events", "行为序列"),
            Text("what a network read in the events, one after the other", "网络从逐个事件及其先后顺序中读到的内容"),
        ),
    )
}
"""By code, in the order in which they are shown where nothing else decides."""

_FAMILIES: Final = {
    "recency": SILENCE,
    "frequency": FREQUENCY,
    "trend": TREND,
    "gaps": RHYTHM,
    "price": MONEY,
    "returns": RETURNS,
    "habits": HABITS,
    "categories": RANGE,
    "fields": FIELDS,
    "calendar": SEASON,
    "user": PROFILE,
}
_NAMED: Final = (
    ("days_since_first", TENURE),
    ("purchase_rate", FREQUENCY),
    ("purchase_silence", SILENCE),
    ("activity_silence", SILENCE),
    ("spend_change", TREND),
    ("spend", MONEY),
    ("refunds", RETURNS),
    ("return_", RETURNS),
    ("purchase_items", RANGE),
    ("activity_items", RANGE),
)
"""Features that belong elsewhere than the rest of their family, by how their names begin."""


def of_feature(feature: Feature) -> str:
    """Return the code of the driver that a feature belongs to."""
    if feature.group in ("recency", "frequency", "gaps"):
        for start, code in _NAMED:
            if feature.name.startswith(start):
                return code
    return _FAMILIES[feature.group]

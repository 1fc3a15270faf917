-- All features of everyone asked about at one cutoff. Variables: log, items, users, labels, at, windows (name: days, None
-- for all history), events, categories (column: values), codes (column: values), out.
{% macro inside(days) -%}
{{ "time >= timestamp '%s' - interval %d day" % (at, days) if days else "true" }}
{%- endmacro %}
{% macro over(part, whole) -%}
case when {{ whole }} > 0 then ({{ part }}) / ({{ whole }}) end
{%- endmacro %}
{% macro spread(count, total, square) -%}
case when {{ count }} >= 2 then sqrt(greatest(({{ square }} - {{ total }} * {{ total }} / {{ count }}) / ({{ count }} - 1), 0)) end
{%- endmacro %}
copy (
    with key as (select "user" from read_parquet('{{ labels }}') where "at" = timestamp '{{ at }}'),
    past as (
        select e.*, i.category, i.brand
        from read_parquet('{{ log }}') e semi join key using ("user") left join read_parquet('{{ items }}') i using (item)
        where time < timestamp '{{ at }}'
    ),
    sums as (
        select "user",
            min(time) as first, max(time) as last, min(time) filter (event = 'purchase') as first_purchase,
            {% for event in events %}
            max(time) filter (event = '{{ event }}') as last_{{ event }},
            {% endfor %}
            {% for name, days in windows.items() %}
            {% for event in events %}
            count(*) filter (event = '{{ event }}' and {{ inside(days) }}) as {{ event }}_{{ name }},
            {% endfor %}
            count(*) filter ({{ inside(days) }}) as events_{{ name }},
            count(distinct "order") filter (event = 'purchase' and {{ inside(days) }}) as purchases_{{ name }},
            count(distinct time::DATE) filter (event = 'purchase' and {{ inside(days) }}) as purchase_days_{{ name }},
            count(distinct item) filter (event = 'purchase' and {{ inside(days) }}) as purchase_items_{{ name }},
            count(distinct time::DATE) filter ({{ inside(days) }}) as activity_days_{{ name }},
            count(distinct item) filter ({{ inside(days) }}) as activity_items_{{ name }},
            coalesce(sum(amount) filter (event = 'purchase' and amount > 0 and {{ inside(days) }}), 0) as spend_{{ name }},
            count(*) filter (event = 'purchase' and amount > 0 and {{ inside(days) }}) as spend_lines_{{ name }},
            coalesce(sum(-amount) filter (amount < 0 and {{ inside(days) }}), 0) as refunds_{{ name }},
            {% endfor %}
            {% for name in ("90d", "all") %}
            coalesce(sum(rating) filter ({{ inside(windows[name]) }}), 0) as rating_{{ name }},
            count(rating) filter ({{ inside(windows[name]) }}) as rating_known_{{ name }},
            count(*) filter (rating != 0 and {{ inside(windows[name]) }}) as rating_used_{{ name }},
            {% endfor %}
            {% for column, values in categories.items() %}{% for value in values %}{% for name in ("365d", "all") %}
            coalesce(sum(amount) filter (
                event = 'purchase' and amount > 0 and {{ column }} = '{{ value }}' and {{ inside(windows[name]) }}
            ), 0) as {{ column }}_{{ loop.index }}_{{ value }}_{{ name }},
            {% endfor %}{% endfor %}{% endfor %}
        from past group by "user"
    ),
    baskets as (
        select "user", count(*) as visits, max(spend) as basket_max, min(spend) as basket_min,
            count(spend) as baskets, sum(spend) as basket_sum, sum(spend * spend) as basket_square,
            {% for day in range(1, 8) %}
            count(*) filter (isodow(time) = {{ day }}) as weekday_{{ day }},
            {% endfor %}
            {% for part in range(4) %}
            count(*) filter (hour(time) // 6 = {{ part }}) as daypart_{{ part + 1 }},
            {% endfor %}
        from (
            select "user", time, sum(amount) filter (amount > 0) as spend
            from past where event = 'purchase' group by "user", time
        )
        group by "user"
    ),
    {% for stream, condition in (("purchase", "event = 'purchase'"), ("activity", "true")) %}
    {{ stream }}_active as (select distinct "user", time::DATE as day from past where {{ condition }}),
    {{ stream }}_turns as (
        select *, day - lag(day) over turn as gap, day - lag(day, 3) over turn as recent,
            (timestamp '{{ at }}')::DATE - max(day) over (partition by "user") as silence,
            day = max(day) over (partition by "user") as latest
        from {{ stream }}_active window turn as (partition by "user" order by day)
    ),
    {{ stream }}_gaps as (
        select "user", max(silence) as silence, count(gap) as gaps, sum(gap) as total, sum(gap * gap) as square,
            max(gap) as longest, max(gap) filter (latest) as latest, max(recent) filter (latest) as recent,
            count(*) filter (gap < silence) as shorter
        from {{ stream }}_turns group by "user"
    ),
    {% endfor %}
    known as (
        select * exclude (place) from (
            select *, row_number() over (partition by "user" order by valid_from desc) as place
            from read_parquet('{{ users }}') where valid_from < timestamp '{{ at }}'
        ) where place = 1
    )
    select key."user", timestamp '{{ at }}' as "at",
        {% macro since(moment) %}epoch_us(timestamp '{{ at }}' - {{ moment }}) / 86400e6{% endmacro %}
        {{ since("last_purchase") }} as days_since_purchase,
        {{ since("first_purchase") }} as days_since_first_purchase,
        purchase_days_all / (greatest({{ since("first_purchase") }}, 1) / 30) as purchase_rate,
        {{ since("last") }} as days_since_event,
        {{ since("first") }} as days_since_first_event,
        {% for event in events if event != "purchase" %}
        {{ since("last_" + event) }} as days_since_{{ event }},
        {% endfor %}
        {% for event in events %}{% for name in windows %}
        {{ event }}_{{ name }} as {{ event }}_{{ "lines" if event in ("purchase", "return") else "events" }}_{{ name }},
        {% endfor %}{% endfor %}
        {% for count in ("purchases", "purchase_days", "purchase_items", "spend", "refunds", "activity_days",
                         "activity_items", "events") %}{% for name in windows %}
        {{ count }}_{{ name }},
        {% endfor %}{% endfor %}
        {% for count in ("purchases", "spend", "events") %}
        {% for short, long in ((7, 30), (30, 90), (90, 180), (180, 365)) %}
        {% set a = "%s_%dd / %d" % (count, short, short) %}
        {% set b = "(%s_%dd - %s_%dd) / %d" % (count, long, count, short, long - short) %}
        {{ over(a + " - " + b, a + " + " + b) }} as {{ count }}_change_{{ short }}d_{{ long }}d,
        {% endfor %}{% endfor %}
        {% for g in ("purchase", "activity") %}
        {{ g }}_gaps.silence as {{ g }}_silence,
        {{ over(g + "_gaps.total", g + "_gaps.gaps") }} as {{ g }}_gap_mean,
        {{ spread(g + "_gaps.gaps", g + "_gaps.total", g + "_gaps.square") }} as {{ g }}_gap_std,
        {{ g }}_gaps.longest as {{ g }}_gap_max,
        {{ g }}_gaps.latest as {{ g }}_gap_last,
        {{ g }}_gaps.recent / 3 as {{ g }}_gap_recent,
        {{ over(g + "_gaps.shorter", g + "_gaps.gaps") }} as {{ g }}_silence_rank,
        {{ over(g + "_gaps.silence * " + g + "_gaps.gaps", g + "_gaps.total") }} as {{ g }}_silence_ratio,
        {% endfor %}
        {% for ratio, part, whole in (("lines_per_purchase", "purchase", "purchases"),
                                      ("purchase_value", "spend", "purchases"), ("line_value", "spend", "spend_lines"),
                                      ("return_ratio", "return", "purchase"), ("refund_ratio", "refunds", "spend")) %}
        {% for name in ("90d", "365d", "all") %}
        {{ over(part + "_" + name, whole + "_" + name) }} as {{ ratio }}_{{ name }},
        {% endfor %}{% endfor %}
        basket_max,
        case when basket_min = basket_max and baskets >= 2 then 0
            else {{ spread("baskets", "basket_sum", "basket_square") }} end as basket_std,
        {{ over("weekday_6 + weekday_7", "visits") }} as weekend_share,
        {% for day in range(1, 8) %}
        {{ over("weekday_%d" % day, "visits") }} as weekday_{{ day }}_share,
        {% endfor %}
        {% for part in range(1, 5) %}
        {{ over("daypart_%d" % part, "visits") }} as daypart_{{ part }}_share,
        {% endfor %}
        {% for column, values in categories.items() %}{% for value in values %}{% for name in ("365d", "all") %}
        {{ over("%s_%d_%s_%s" % (column, loop.index, value, name), "spend_" + name) }}
            as share_{{ column }}_{{ value }}_{{ name }},
        {% endfor %}{% endfor %}{% endfor %}
        {% for name in ("90d", "all") %}
        {{ over("rating_" + name, "rating_known_" + name) }} as rating_mean_{{ name }},
        rating_{{ name }} as rating_sum_{{ name }},
        {{ over("rating_used_" + name, "rating_known_" + name) }} as rating_used_{{ name }},
        {% endfor %}
        sin((dayofyear(timestamp '{{ at }}') - 1) * (2 * pi() / 365.25)) as season_sin,
        cos((dayofyear(timestamp '{{ at }}') - 1) * (2 * pi() / 365.25)) as season_cos,
        {% for column, values in codes.items() %}
        nullif(list_position([{% for value in values %}'{{ value }}'{{ ", " if not loop.last }}{% endfor %}], {{ column }}), 0) - 1
            as user_{{ column }},
        {% endfor %}
    from key join sums using ("user") left join baskets using ("user") left join purchase_gaps using ("user")
        left join activity_gaps using ("user") left join known using ("user")
    order by "user"
) to '{{ out }}' (format parquet, compression zstd)

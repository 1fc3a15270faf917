-- churn(days=90, active=180) at every cutoff. Variables: log, cutoffs, out.
copy (
    select "user", "at", (count(*) filter (event = 'purchase' and time >= "at") = 0)::DOUBLE as churn_90d
    from read_parquet('{{ log }}')
    join (select unnest([{% for at in cutoffs %}timestamp '{{ at }}'{{ ", " if not loop.last }}{% endfor %}]) as "at")
        on time >= "at" - interval 180 day and time < "at" + interval 90 day
    group by "user", "at"
    having count(*) filter (time < "at") > 0
    order by "at", "user"
) to '{{ out }}' (format parquet, compression zstd)

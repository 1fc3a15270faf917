-- A log as `valuecast ingest` writes it, without any check of the rows. Variables: files, since, until, out.
copy (
    select
        md5(content || '#' || row_number() over (partition by content)) as id,
        "user", time, event, item, amount, "order", rating, text, campaign,
        (('0x' || substr(md5("user"), 1, 4))::INTEGER % 64)::SMALLINT as bucket
    from (
        select *, md5(concat_ws('|',
            epoch_us(time), coalesce(amount::VARCHAR, ''), coalesce(rating::VARCHAR, ''), "user", event,
            coalesce(item, ''), coalesce("order", ''), coalesce(text, ''), coalesce(campaign, ''),
            length("user"), length(event), coalesce(length(item), -1), coalesce(length("order"), -1),
            coalesce(length(text), -1), coalesce(length(campaign), -1))) as content
        from read_parquet('{{ files }}')
        where "user" is not null and time >= timestamp '{{ since }}' and time < timestamp '{{ until }}'
    )
    order by bucket, "user", time, id
) to '{{ out }}' (format parquet, compression zstd)

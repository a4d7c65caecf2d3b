rule acquire:
    """Tarballs from the bucket to images, labels and the chip table of one city and split."""
    input:
        local_tarballs,
    output:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
    log:
        f"{DATA}/logs/acquire/{{city}}_{{split}}.log",
    benchmark:
        f"{DATA}/benchmarks/acquire/{{city}}_{{split}}.tsv"
    retries: 1
    conda:
        "../../envs/roadspeed.yaml"
    threads: 4
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        bucket=CONFIG.bucket,
        tarballs=tarballs_json,
        downloads=f"{DATA}/acquire/tarballs",
        settings=as_json(CONFIG.acquire),
    shell:
        'python "$SCRIPTS"/acquire.py --city {wildcards.city} --split {wildcards.split} --bucket {params.bucket:q}'
        " --tarballs {params.tarballs:q} --downloads {params.downloads:q} --settings {params.settings:q}"
        " --out {output.chips:q} --threads {threads} 2> >(tee {log:q} >&2)"

rule stretch:
    """Images of one city and split to 8 bits."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        ranges=other_ranges,
    output:
        rgb=f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv",
        ranges=f"{DATA}/prepare/{{city}}/{{split}}/rgb.json",
    log:
        f"{DATA}/logs/stretch/{{city}}_{{split}}.log",
    benchmark:
        f"{DATA}/benchmarks/stretch/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=120,
        numa_node="auto",
    params:
        settings=as_json(CONFIG.prepare.stretch),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/stretch.py --chips {input.chips:q} --settings {params.settings:q}'
        " --ranges {input.ranges:q} --out {output.rgb:q} --threads {threads} 2> >(tee {log:q} >&2)"


rule masks:
    """Labels of one city and split to speed masks."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        rgb=f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv",
    output:
        masks=f"{DATA}/prepare/{{city}}/{{split}}/masks.csv",
    log:
        f"{DATA}/logs/masks/{{city}}_{{split}}.log",
    benchmark:
        f"{DATA}/benchmarks/masks/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=120,
        numa_node="auto",
    params:
        settings=as_json(CONFIG.prepare.masks),
        bins=as_json(CONFIG.speed_bins),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/masks.py --chips {input.chips:q} --rgb {input.rgb:q}'
        " --settings {params.settings:q} --bins {params.bins:q} --out {output.masks:q} --threads {threads}"
        " 2> >(tee {log:q} >&2)"


rule folds:
    """Labelled chips of all training cities to folds."""
    input:
        chips=of_trained(f"{DATA}/acquire/{{city}}/{{split}}/chips.csv"),
        rgb=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv"),
        masks=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/masks.csv"),
    output:
        folds=f"{RESULTS}/folds.csv",
    log:
        f"{RESULTS}/logs/folds.log",
    benchmark:
        f"{RESULTS}/benchmarks/folds.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=as_json(CONFIG.prepare.folds),
    shell:
        'python "$SCRIPTS"/folds.py --chips {input.chips:q} --rgb {input.rgb:q} --masks {input.masks:q}'
        " --settings {params.settings:q} --out {output.folds:q} 2> >(tee {log:q} >&2)"

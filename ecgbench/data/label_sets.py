"""The label sets of the classification task: which classes each has, in the order of its columns."""

import csv
from collections.abc import Sequence
from importlib.resources import files

TABLE = "tables/cinc_classes.csv"
"""The scored SNOMED CT codes of the PhysioNet/CinC Challenges 2020 and 2021, in the order of the official columns.

Columns: code, name, abbreviation, and for each year the class that the code counts for, empty where it is not scored.
Codes that the organisers score as one share a class, named by all its members (Perez Alday et al. 2020, Reyna et al.
2021; evaluation-2020 and evaluation-2021 on GitHub, BSD-2-Clause).
"""

PTBXL_LABEL_SETS: dict[str, tuple[str, ...]] = {
    name: tuple(codes.split())
    for name, codes in {
        "ptbxl_all": (
            "1AVB 2AVB 3AVB ABQRS AFIB AFLT ALMI AMI ANEUR ASMI BIGU CLBBB CRBBB DIG EL HVOLT ILBBB ILMI IMI INJAL "
            "INJAS INJIL INJIN INJLA INVT IPLMI IPMI IRBBB ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA ISC_ IVCD LAFB LAO/LAE "
            "LMI LNGQT LOWT LPFB LPR LVH LVOLT NDT NORM NST_ NT_ PAC PACE PMI PRC(S) PSVT PVC QWAVE RAO/RAE RVH SARRH "
            "SBRAD SEHYP SR STACH STD_ STE_ SVARR SVTAC TAB_ TRIGU VCLVH WPW"
        ),
        "ptbxl_diagnostic": (
            "1AVB 2AVB 3AVB ALMI AMI ANEUR ASMI CLBBB CRBBB DIG EL ILBBB ILMI IMI INJAL INJAS INJIL INJIN INJLA IPLMI "
            "IPMI IRBBB ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA ISC_ IVCD LAFB LAO/LAE LMI LNGQT LPFB LVH NDT NORM NST_ "
            "PMI RAO/RAE RVH SEHYP WPW"
        ),
        "ptbxl_subdiagnostic": (
            "AMI CLBBB CRBBB ILBBB IMI IRBBB ISCA ISCI ISC_ IVCD LAFB/LPFB LAO/LAE LMI LVH NORM NST_ PMI RAO/RAE RVH "
            "SEHYP STTC WPW _AVB"
        ),
        "ptbxl_superdiagnostic": "CD HYP MI NORM STTC",
        "ptbxl_form": (
            "ABQRS DIG HVOLT INVT LNGQT LOWT LPR LVOLT NDT NST_ NT_ PAC PRC(S) PVC QWAVE STD_ STE_ TAB_ VCLVH"
        ),
        "ptbxl_rhythm": "AFIB AFLT BIGU PACE PSVT SARRH SBRAD SR STACH SVARR SVTAC TRIGU",
    }.items()
}
"""SCP-ECG statements and their aggregates (Wagner et al. 2020, `scp_statements.csv`), alphabetical."""


def _scored_codes() -> list[dict[str, str]]:
    """The rows of `TABLE`."""
    with files("ecgbench.data").joinpath(TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


_ROWS = _scored_codes()

CLASS_OF_CODE: dict[str, dict[str, str]] = {
    "cinc2021": {row["code"]: row["class_2021"] for row in _ROWS if row["class_2021"]},
    "cinc2020": {row["code"]: row["class_2020"] for row in _ROWS if row["class_2020"]},
    "cinc2020_unmerged": {row["code"]: row["abbreviation"] for row in _ROWS if row["class_2020"]},
}
"""For each label set of the challenges, the class of every scored SNOMED CT code."""

LABEL_SETS: dict[str, tuple[str, ...]] = {
    **{name: tuple(dict.fromkeys(class_of.values())) for name, class_of in CLASS_OF_CODE.items()},
    **PTBXL_LABEL_SETS,
}
"""The classes of each label set, in the order of the columns of its targets and scores."""


def n_classes(labels: str | Sequence[str] | None) -> int:
    """How many classes a label set has, given by name or as a list of classes; 0 for None, data without labels.

    A class that is listed twice counts once. Raises ValueError for a name that is no label set.
    """
    if labels is None:
        return 0
    if not isinstance(labels, str):
        return len(set(labels))
    if labels not in LABEL_SETS:
        raise ValueError(f"{labels!r} is no label set; use one of {', '.join(LABEL_SETS)}, or a list of classes")
    return len(LABEL_SETS[labels])

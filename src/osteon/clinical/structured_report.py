"""A study's answer as a DICOM structured report: Measurement Report, TID 1500 of PS3.16.

Written as Comprehensive SR: its spatial coordinates are those of image pixels (2D), which is all that a radiograph has,
and more archives and viewers read it than Comprehensive 3D SR. Every group of measurements is a TID 1501, each outlined
region a TID 1410. It is never verified: a person has to do that.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from osteon.clinical import codes as concepts
from osteon.clinical.device import DISCLAIMER, Maker, first_answer, parameters, percent
from osteon.clinical.identity import new_uid, plain, reference, take_over
from osteon.clinical.outlines import Region, regions
from osteon.data.dicom_checks import MANUFACTURER
from osteon.export.model_card import ModelCard
from osteon.inference.prediction import Prediction, StudyPrediction, verdict_words

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations

SERIES_NUMBER = 9101
SERIES_DESCRIPTION = "Osteon report (research)"


def structured_report(
    study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard, series: UID, instance: UID
) -> Dataset:
    """Return the report of a study.

    Args:
        study: The answer.
        sources: The images' data sets in the order of ``study.views``; None for one that is no DICOM image.
        card: What the model says of itself.
        series: Identifier of the report's series.
        instance: Identifier of the report.

    Returns:
        A Comprehensive SR, unverified, in the study of the sources and with their identity.
    """
    maker = Maker.of(card)
    known = [source for source in sources if source is not None]
    groups = [_study_group(study, known, maker, instance)]
    for number, (view, source) in enumerate(zip(study.views, sources, strict=True), start=1):
        groups += _view_groups(view, source, number, maker, instance)
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(maker)),
        procedure_reported=concepts.PLAIN_RADIOGRAPHY,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_texts(study, card, maker))
    report = ComprehensiveSR(
        evidence=[reference(source) for source in known],
        content=content[0],
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.product,
        software_versions=maker.version,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=True,
        specific_character_set=None,
        coding_schemes=[concepts.scheme()],
    )
    take_over(report, known[0])
    return report


def _observer(maker: Maker) -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=new_uid("device", maker.version, maker.sha256),
        name=maker.short,
        manufacturer_name=MANUFACTURER,
        model_name=maker.product,
    )
    return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=attributes)


def _algorithm(maker: Maker, answer: Prediction | None) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=f"{maker.product}: {maker.model}",
        version=maker.algorithm_version,
        parameters=parameters(maker, answer),
        manufacturer=MANUFACTURER,
    )


def _study_group(study: StudyPrediction, known: Sequence[Dataset], maker: Maker, instance: UID) -> Group:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(new_uid(instance, "study"), "Study"),
        algorithm_id=_algorithm(maker, first_answer(study)),
        finding_type=_asked(study.probability, maker),
        measurements=_measured(concepts.CERTAINTY_OF_IMPRESSION, study.probability, concepts.pooling(study.pooling)),
        qualitative_evaluations=[QualitativeEvaluation(concepts.VERDICT, concepts.verdict(study.verdict))],
        source_images=[_source_of_group(source) for source in known if _is_image(source)],
    )
    return _with_texts(group, [_study_words(study, maker.target)])


def _view_groups(view: Prediction, source: Dataset | None, number: int, maker: Maker, instance: UID) -> list[Group]:
    """Return the group of one image, and one for each region outlined in it."""
    name = f"Image {number}"
    sites = None if source is None else _sites(source, view.region)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(new_uid(instance, number), name),
        algorithm_id=_algorithm(maker, view),
        finding_type=_asked(view.probability, maker),
        finding_sites=sites,
        measurements=_measured(concepts.CERTAINTY_OF_FINDING, view.probability),
        qualitative_evaluations=[QualitativeEvaluation(concepts.VERDICT, concepts.verdict(view.verdict))],
        source_images=[_source_of_group(source)] if source is not None and _is_image(source) else None,
    )
    groups: list[Group] = [_with_texts(group, [_view_words(view, name, maker.target), *_flag_words(view)])]
    if source is None or view.heat_map is None or view.probability is None:
        return groups
    for index, region in enumerate(regions(view.heat_map), start=1):
        tracking = TrackingIdentifier(new_uid(instance, number, index), f"{name}, region {index}")
        groups.append(_region_group(region, source, tracking, maker, view, sites))
    return groups


def _region_group(
    region: Region,
    source: Dataset,
    tracking: TrackingIdentifier,
    maker: Maker,
    view: Prediction,
    sites: list[FindingSite] | None,
) -> Group:
    selected = SourceImageForRegion(str(source.SOPClassUID), str(source.SOPInstanceUID))
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=ImageRegion("POLYLINE", region.outline, selected),
        finding_type=concepts.finding(maker.target) if view.verdict == "positive" else None,
        finding_sites=sites,
        algorithm_id=_algorithm(maker, view),
    )
    words = f"Where the model looked: strength of its map up to {region.strength:.2f} of 1. No delineation of a lesion."
    return _with_texts(group, [words])


def _sites(source: Dataset, region: str) -> list[FindingSite] | None:
    found = concepts.site(source, region)
    return None if found is None else [FindingSite(found[0], found[1])]


def _asked(probability: float | None, maker: Maker) -> CodedConcept | None:
    """Return the finding that a probability is about; none where there is no answer."""
    return None if probability is None else concepts.finding(maker.target)


def _measured(
    name: CodedConcept, probability: float | None, derivation: CodedConcept | None = None
) -> list[Measurement] | None:
    """Return the probability in per cent; nothing where there is none."""
    if probability is None:
        return None
    return [Measurement(name, round(100 * probability, 4), concepts.PERCENT, derivation=derivation)]


def _is_image(source: Dataset) -> bool:
    return "Rows" in source and "Columns" in source


def _source_of_group(source: Dataset) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(str(source.SOPClassUID), str(source.SOPInstanceUID))


def _texts(study: StudyPrediction, card: ModelCard, maker: Maker) -> ContainerContentItem:
    """Return the container of what is said in words (TID 1500, row 12)."""
    item = ContainerContentItem(concepts.QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS)
    item.ContentSequence = ContentSequence()
    item.ContentSequence.append(_text(concepts.LIMITATION, DISCLAIMER))
    item.ContentSequence.append(_text(concepts.IMPRESSION, _study_words(study, maker.target)))
    for number, view in enumerate(study.views, start=1):
        words = _view_words(view, f"Image {number}", maker.target)
        item.ContentSequence.append(_text(concepts.COMMENT, words))
    item.ContentSequence.append(_text(concepts.COMMENT, f"Made by {maker.short}."))
    for note in card.notes:
        item.ContentSequence.append(_text(concepts.COMMENT, note))
    return item


def _with_texts(group: Group, texts: Sequence[str]) -> Group:
    for words in texts:
        group[0].ContentSequence.append(_text(concepts.COMMENT, words))
    return group


def _text(name: CodedConcept, words: str) -> TextContentItem:
    return TextContentItem(name, plain(words), RelationshipTypeValues.CONTAINS)


def _study_words(study: StudyPrediction, target: str) -> str:
    words = verdict_words(study.verdict, target)
    if study.probability is None:
        return f"Study: {words}. No image could be answered for."
    answered = sum(view.probability is not None for view in study.views)
    images = f"{answered} of {len(study.views)} images, {study.pooling.replace('_', '-')}"
    return f"Study: {words}. Probability {percent(study.probability)} ({images})."


def _view_words(view: Prediction, name: str, target: str) -> str:
    words = verdict_words(view.verdict, target)
    if view.probability is None:
        refusal = view.refusal
        reason = "reason unknown" if refusal is None else f"{refusal.detail} ({refusal.reason})"
        return f"{name}: {words}: {reason}."
    return f"{name}: {words}. Probability {percent(view.probability)}, threshold {percent(view.threshold)}."


def _flag_words(view: Prediction) -> list[str]:
    return [f"{flag.severity.capitalize()}: {flag.detail} ({flag.code})." for flag in view.flags]
